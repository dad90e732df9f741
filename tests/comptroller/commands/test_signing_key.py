"""What `run signing-key` prints is what a server checks the requests of `http` steps with."""

import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from comptroller.cli import app
from comptroller.data_dir import runs_secret_file
from orchestrator.running.attempt_secrets import kept_master, signing_secret
from orchestrator.running.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from tests.orchestrator.documented import signature_check

COMMAND = ["run", "signing-key", "--data-dir"]


def test_a_request_is_ours_by_the_printed_key_alone(tmp_path: Path) -> None:
    """The printed key derives no attempt's key: it is not what those come from."""
    master = kept_master(runs_secret_file(tmp_path))
    ran = CliRunner().invoke(app, [*COMMAND, str(tmp_path)])
    assert ran.exit_code == 0
    key, now = ran.stdout.strip(), str(int(time.time()))
    signed = signature(signing_secret(master), now, b"{}")
    headers = {TIMESTAMP_HEADER: now, SIGNATURE_HEADER: signed}
    assert signature_check()(key, headers, b"{}")
    assert bytes.fromhex(key) != master


def test_all_machines_have_the_key_of_their_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMPTROLLER_RUNS_SECRET", "shared by all of them")
    ran = CliRunner().invoke(app, [*COMMAND, str(tmp_path)])
    assert ran.stdout.strip() == signing_secret(b"shared by all of them").hex()


def test_a_data_dir_that_has_executed_nothing_has_none(tmp_path: Path) -> None:
    """Asking does not make one."""
    ran = CliRunner().invoke(app, [*COMMAND, str(tmp_path)])
    assert ran.exit_code == 1
    assert "comptroller up" in ran.output
    assert not runs_secret_file(tmp_path).exists()
