"""The data dir: one instance at a time, of a version that knows it; secrets whole or not at all."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from comptroller.data_dir import FORMAT, DataDirRefused, held, kept_secret


def mode(path: Path) -> int:
    """Its permissions."""
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    """Also with folders above it, whatever the umask."""
    data_dir = tmp_path / "a" / "b"
    earlier = os.umask(0)
    try:
        with held(data_dir):
            assert mode(data_dir) == 0o700
            assert {mode(each) for each in data_dir.iterdir()} == {0o600}
    finally:
        os.umask(earlier)


def test_one_instance_at_a_time(tmp_path: Path) -> None:
    """A second one is refused with the first one's process id and what to do, and leaves it there;
    afterwards the folder is free."""
    with held(tmp_path):
        for _ in range(2):
            with pytest.raises(DataDirRefused, match=rf"process {os.getpid()}\).*--data-dir"):
                held(tmp_path).__enter__()
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_the_process_id_of_an_earlier_holder_leaves_no_digits(tmp_path: Path) -> None:
    """A longer number that was there before is gone as a whole."""
    (tmp_path / "lock").write_text("99999999999")
    with held(tmp_path):
        assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_a_process_that_was_begun_meanwhile_does_not_keep_it(tmp_path: Path) -> None:
    """A child that outlives the instance does not hold the folder."""
    with held(tmp_path):
        child = subprocess.Popen(
            [sys.executable, "-c", "input(1)"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            close_fds=False,
        )
        assert child.stdout is not None
        assert child.stdout.read(1) == b"1"
    try:
        with held(tmp_path):
            assert child.poll() is None
    finally:
        child.communicate(b"\n")


def test_a_failure_inside_frees_it(tmp_path: Path) -> None:
    """Whatever ends the block."""
    with pytest.raises(KeyError), held(tmp_path):
        raise KeyError
    with held(tmp_path):
        pass


@pytest.mark.parametrize("found", [str(FORMAT + 1), "0", "", "one", "\u00e9", "1 2", "9" * 10_000])
def test_another_format_is_refused(tmp_path: Path, found: str) -> None:
    """Of a later version, an earlier one, or damaged; the message is short, names both and says
    what to do; the file stays as it is and the folder is free for the right version."""
    file = tmp_path / "format"
    file.write_text(found, encoding="utf-8")
    for _ in range(2):
        with pytest.raises(DataDirRefused, match=rf"this one has {FORMAT}\).*--data-dir") as told:
            held(tmp_path).__enter__()
        assert len(str(told.value)) < 400
    assert file.read_text(encoding="utf-8") == found


def test_a_folder_of_before_formats_were_noted_is_taken(tmp_path: Path) -> None:
    """It gets a note, which the next start finds."""
    (tmp_path / "records").mkdir()
    with held(tmp_path):
        assert (tmp_path / "format").read_text() == str(FORMAT)
    with held(tmp_path):
        pass


def test_a_secret_is_kept(tmp_path: Path) -> None:
    """The first one stays, for its owner's eyes only, with nothing beside it."""
    file = tmp_path / "first-key"
    assert kept_secret(file, "the-first") == "the-first"
    assert kept_secret(file, "another") == "the-first"
    assert mode(file) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_write_that_broke_off_leaves_no_secret(tmp_path: Path) -> None:
    """What a crash left half written beside the file is not the secret, and in nobody's way."""
    file = tmp_path / "first-key"
    (tmp_path / "first-key.new").write_text("half")
    assert kept_secret(file, "the-whole-one") == "the-whole-one"
    assert kept_secret(file, "another") == "the-whole-one"


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe", b"two\nlines"])
def test_a_file_without_a_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    """An empty key would be a key that everybody knows: the message names the file."""
    file = tmp_path / "first-key"
    file.write_bytes(content)
    with pytest.raises(DataDirRefused, match="first-key holds no secret: delete it"):
        kept_secret(file, "fresh")
