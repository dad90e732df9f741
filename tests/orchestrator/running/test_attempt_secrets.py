"""Secrets of attempts are the same for all who have the master, and nobody else's."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.places import AttemptPlace, RunPlace, TaskId
from orchestrator.running.attempt_secrets import (
    MASTER_BYTES,
    MasterInvalid,
    kept_master,
    secret_of,
    signing_secret,
)


def test_a_secret_is_of_one_attempt_and_one_master() -> None:
    """256 bits, with the prefix that scanners know."""
    run = RunPlace("r1", "acme/r1", "report", 1)
    places = [AttemptPlace(run, TaskId("a", entry), n) for entry in (-1, 0) for n in (1, 2)]
    found = {secret_of(master * 32, each) for master in (b"a", b"b") for each in places}
    assert len(found) == 8
    assert all(each.startswith("ck-") and len(each) == 3 + 43 for each in found)
    assert secret_of(b"a" * 32, places[0]) in found


def test_the_master_is_made_once(tmp_path: Path) -> None:
    """By whoever comes first, for the owner's eyes only; nothing else is left behind."""
    path = tmp_path / "run-secrets"
    with ThreadPoolExecutor(16) as pool:
        found = set(pool.map(kept_master, [path] * 64))
    assert len(found) == 1
    assert len(found.pop()) == MASTER_BYTES
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_master_is_named(tmp_path: Path) -> None:
    """It says what to do, and does not go on with what is left of it."""
    path = tmp_path / "run-secrets"
    path.write_bytes(b"short")
    with pytest.raises(MasterInvalid, match="backup"):
        kept_master(path)


def test_who_checks_signatures_can_make_no_keys() -> None:
    master, run = b"m" * 32, RunPlace("r1", "acme/r1", "report", 1)
    shared = signing_secret(master)
    attempt = AttemptPlace(run, TaskId("a"), 1)
    assert shared != master
    assert secret_of(shared, attempt) != secret_of(master, attempt)
