"""On a full disk the engine takes inserts, says nothing and keeps none of them, or replaces whole
parts by broken ones: it stops before that, nothing is acknowledged that is not there, and the
records go on when there is room.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.recorder.full_disk import BATCHES_MAX, EVENTS, Outcome

DISK = "96m"
FREE_BYTES_MIN = 24 * 2**20


def _with_a_small_disk(folder: Path, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a user and mount namespace of its own; the folder is a small tmpfs."""
    script = f'mount -t tmpfs -o size={DISK} tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, folder, *command],
        capture_output=True,
        timeout=100,
        check=False,
    )


def test_nothing_is_acknowledged_that_a_full_disk_has_lost(tmp_path: Path) -> None:
    """Every batch that the writer called written is there once, with its payloads, after the disk
    was full and had room again, and after the engine was opened anew."""
    if shutil.which("unshare") is None or _with_a_small_disk(tmp_path, ["true"]).returncode:
        pytest.skip("no small disk: this system lets no user make a mount namespace")
    done = _with_a_small_disk(
        tmp_path,
        [sys.executable, "-m", "tests.recorder.full_disk", str(tmp_path), str(FREE_BYTES_MIN)],
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    assert len(outcome.errors) == 1, "the disk was never full"
    assert 2 * EVENTS <= outcome.wanted < BATCHES_MAX * EVENTS
    assert outcome.found == list(range(1, outcome.wanted + 1))
    assert outcome.payloads == outcome.wanted
