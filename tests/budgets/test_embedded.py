"""The embedded ledger's server: how long it is waited for, who has its files, what it is told."""

import signal
from pathlib import Path

import pytest

import budgets.embedded
from budgets.embedded import EmbeddedServer, EmbeddedServerFailed
from tests.living import below

COMMAND = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n"
COMMANDS = 2_000_000


def test_a_long_file_is_read_to_its_end(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says that it is still reading is waited for, longer than one that is silent."""
    files = folder / "ledger" / "appendonlydir"
    files.mkdir(parents=True)
    (files / "appendonly.aof.manifest").write_text("file appendonly.aof.1.incr.aof seq 1 type i\n")
    (files / "appendonly.aof.1.incr.aof").write_bytes(COMMAND * COMMANDS)
    monkeypatch.setattr(budgets.embedded, "READY_TIMEOUT_S", 0.4)
    server = EmbeddedServer(folder)
    try:
        server.start()
        assert server._answer() == b"+PONG\r\n"
        monkeypatch.undo()
    finally:
        monkeypatch.undo()
        server.stop()
    log = (folder / "ledger" / "valkey.log").read_text()
    took_s = float(log.partition("DB loaded from append only file: ")[2].partition(" ")[0])
    assert took_s > 0.4, "too short a file to show anything"


def test_files_of_another_server_are_left_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`spawn` answers at once that they are another's; `start` waits, and says what to do."""
    monkeypatch.setattr(budgets.embedded, "READY_TIMEOUT_S", 5.0)
    first, second = EmbeddedServer(folder), EmbeddedServer(folder)
    first.start()
    try:
        assert not second.spawn()
        monkeypatch.setattr(budgets.embedded, "READY_TIMEOUT_S", 0.1)
        with pytest.raises(EmbeddedServerFailed, match="choose another --data-dir"):
            second.start()
        with pytest.raises(AssertionError):
            _ = second.pid
        assert first._answer() == b"+PONG\r\n"
    finally:
        monkeypatch.undo()
        first.stop()


def test_it_is_told_no_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this process's environment reaches it, and its files are for its owner alone."""
    monkeypatch.setenv("COMPTROLLER_ADMIN_TOKEN", "ca-a-secret")
    server = EmbeddedServer(folder)
    server.start()
    try:
        assert Path(f"/proc/{server.pid}/environ").read_bytes().strip(b"\0") == b""
        modes = {found.st_mode & 0o077 for _, found in below(folder / "ledger")}
        assert modes == {0}
    finally:
        server.stop()


def test_a_server_that_does_not_run_has_no_process_id(folder: Path) -> None:
    """Not 0, which stands for all processes of one's own group where something is to be killed."""
    server = EmbeddedServer(folder)
    with pytest.raises(AssertionError):
        _ = server.pid
    server.send(signal.SIGCONT)
