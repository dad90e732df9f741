"""A disk that is really full: endings stay in memory, nothing is believed kept that is not, and
they go to the disk when there is room."""

import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.budgets.small_disk import AFTER, BEFORE, WHILE_FULL, Outcome

DISK = "12m"


def _with_a_small_disk(folder: Path, command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a user and mount namespace of its own; the folder is a small tmpfs."""
    script = f'mount -t tmpfs -o size={DISK} tmpfs "$0" && exec "$@"'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, folder, *command],
        capture_output=True,
        timeout=60,
        check=False,
    )


def test_a_full_disk_keeps_what_it_has_and_takes_the_rest_later(tmp_path: Path) -> None:
    """What the worker believes to be on the disk is there, before, while and after it is full; in
    the end all of it, once, and no file is damaged. It is said once that the disk refuses."""
    if shutil.which("unshare") is None or _with_a_small_disk(tmp_path, ["true"]).returncode:
        pytest.skip("no small disk: this system lets no user make a mount namespace")
    done = _with_a_small_disk(
        tmp_path, [sys.executable, "-m", "tests.budgets.small_disk", str(tmp_path)]
    )
    said = done.stderr.decode()
    assert done.returncode == 0, said[-2000:]
    outcome = msgspec.json.decode(done.stdout, type=Outcome)
    assert outcome.believed[0] == BEFORE
    assert outcome.believed[1] < BEFORE + WHILE_FULL, "the disk was never full"
    assert outcome.believed[2] == BEFORE + WHILE_FULL + AFTER
    assert outcome.found == outcome.believed
    assert not outcome.is_damaged
    assert said.count("cannot be kept on the disk") == 1
    assert said.count("are kept on the disk again") == 1
