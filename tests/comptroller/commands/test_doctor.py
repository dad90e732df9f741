"""`comptroller doctor`: each thing that keeps a stack from starting or answering is found, with
what to do about it."""

import os
import resource
import shutil
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from budgets.embedded import SOCKET_PATH_BYTES_MAX
from comptroller.commands import machine
from comptroller.commands.findings import Finding
from comptroller.commands.stack import free_ports, stack_findings
from comptroller.exits import FAILED
from comptroller.settings import load_settings
from tests.comptroller.commands.administered import Administered
from tests.comptroller.commands.forked import forked
from tests.gateway.processes import free_port

ON_THIS_MACHINE = ("python", "data dir", "socket path", "disk", "file descriptors")


def one(findings: list[Finding]) -> Finding:
    """The only one; what is not ok says what to do."""
    (finding,) = findings
    assert bool(finding.do) == (finding.status != "ok")
    return finding


@pytest.mark.asyncio(loop_scope="session")
async def test_a_running_stack_is_well(stack: Administered) -> None:
    """Every part is found ready, no port is complained of, exit 0."""
    port = {"COMPTROLLER_PORT": str(stack.running.port)}
    ran = await stack("doctor", "--json", **port)
    found = {each["check"]: each["status"] for each in ran.documents}
    assert {name: found[name] for name in ("ledger", "gateway", "records", "admin API")} == {
        "ledger": "ok",
        "gateway": "ok",
        "records": "ok",
        "admin API": "ok",
    }
    assert set(ON_THIS_MACHINE) <= found.keys()
    assert found["valkey"] == found["chdb"] == "ok"
    assert "port" not in found
    assert ran.code == (FAILED if "fail" in found.values() else 0)


@pytest.mark.asyncio(loop_scope="session")
async def test_a_gateway_that_is_not_there_fails(stack: Administered) -> None:
    """The ledger answers, the gateway's port does not: exit 1 and its name."""
    address = stack.running.data_dir / "gateway.url"
    there = address.read_text()
    address.write_text(f"http://127.0.0.1:{free_port()}/v1")
    try:
        ran = await stack("doctor")
    finally:
        address.write_text(there)
    assert ran.code == FAILED
    assert "must be put right: gateway" in ran.err
    assert "fail\tgateway\tdoes not answer" in ran.out
    assert ran.next_command


async def test_nothing_runs_is_no_fault(folder: Path) -> None:
    """On a new data dir: it will be made, and ports are looked at."""
    ports = {
        "COMPTROLLER_PORT": str(free_port()),
        "COMPTROLLER_CLICKHOUSE_PORT": str(free_port()),
    }
    ran = await forked("doctor", "--data-dir", str(folder / "new"), "--json", environment=ports)
    found = {each["check"]: each for each in ran.documents}
    assert "will be made" in found["data dir"]["message"]
    assert "not running" in found["stack"]["message"]
    assert found["port"]["status"] == found["records port"]["status"] == "ok"
    assert not (folder / "new").exists()


def test_a_port_that_another_has_fails() -> None:
    """The one, by its name; a free one does not."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load_settings(
            None,
            {"COMPTROLLER_PORT": str(port), "COMPTROLLER_CLICKHOUSE_PORT": str(free_port())},
        )
        found = {each.check: each for each in free_ports(settings)}
        assert found["port"].status == "fail"
        assert str(port) in found["port"].message
        assert "--port" in found["port"].do
        assert found["records port"].status == "ok"


def test_a_redis_that_does_not_answer_fails() -> None:
    """And its URL, which may hold a password, is not repeated."""
    url = f"redis://user:pass-word@127.0.0.1:{free_port()}/0"
    finding = one(stack_findings(load_settings(None, {"COMPTROLLER_REDIS_URL": url}), None))
    assert (finding.check, finding.status) == ("ledger", "fail")
    assert "pass-word" not in finding.message + finding.do


def test_a_data_dir_too_deep_for_a_socket_fails(tmp_path: Path) -> None:
    """The kernel's bound, to the byte."""
    room = SOCKET_PATH_BYTES_MAX - len(b"/ledger.sock")
    fits = Path("/") / ("d" * (room - 1))
    assert one(machine.socket_path(fits)).status == "ok"
    assert one(machine.socket_path(Path(f"{fits}d"))).status == "fail"


def test_a_data_dir_that_others_can_read_is_a_warning(folder: Path) -> None:
    """It holds secrets; chmod is what to do."""
    folder.chmod(0o755)
    finding = one(machine.data_dir(folder))
    assert (finding.status, finding.do) == ("warn", f"chmod 700 {folder}")
    folder.chmod(0o700)
    assert one(machine.data_dir(folder)).status == "ok"
    file = folder / "file"
    file.touch()
    assert one(machine.data_dir(file / "below")).status == "fail"


@pytest.mark.parametrize(("soft", "status"), [(512, "fail"), (2048, "warn"), (8192, "ok")])
def test_few_file_descriptors_are_found(
    soft: int, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the ulimit to type: what is enough, or all that this user may have."""
    for hard, reachable in ((resource.RLIM_INFINITY, 8192), (20_000, 8192), (4096, 4096)):
        limits = soft, hard
        monkeypatch.setattr(resource, "getrlimit", lambda _, limits=limits: limits)
        finding = one(machine.descriptors())
        assert finding.status == status
        assert finding.do == ("" if status == "ok" else f"ulimit -n {reachable}")


def test_a_full_disk_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too little to run fails; less than the spool may take is a warning."""
    spool = 4 * 2**30
    for free, status in ((2**30 - 1, "fail"), (2**30, "warn"), (spool + 2**30, "ok")):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, usage=usage: usage)
        assert one(machine.disk(folder, spool)).status == status


def test_a_clock_that_went_back_is_found(folder: Path) -> None:
    """The data dir was written in what is now the future."""
    assert one(machine.clock(folder)).status == "ok"
    ahead_s = time.time() + 3600
    os.utime(folder, (ahead_s, ahead_s))
    finding = one(machine.clock(folder))
    assert finding.status == "warn"
    assert "went back" in finding.message


def test_an_engine_that_does_not_run_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it said last is told, and what to do instead."""
    broken = folder / "python"
    broken.write_text("#!/bin/sh\necho 'ImportError: no such engine' >&2\nexit 1\n")
    broken.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(broken))
    finding = one(machine.chdb())
    assert finding.status == "fail"
    assert "ImportError: no such engine" in finding.message
    monkeypatch.setattr(machine, "get_binary_path", lambda: folder / "nothing")
    assert one(machine.valkey()).status == "fail"
