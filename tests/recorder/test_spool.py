"""The disk spool: what was put is there whole after any death, and never more than fits."""

import contextlib
import errno
import os
import random
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.policy import PolicyInvalid
from recorder import durable, spool
from recorder.batch import Batch, Head
from recorder.spool import Spool, SpoolDamaged, SpoolFull
from tests.recorder.killing import killed_before_every_line

PLENTY = 2**30
EVERY_CHARACTER = "AZaz09._@:+=~-"


def batch(first: int = 1, organisation: str = "acme", epoch: int = 1, size: int = 100) -> Batch:
    """Three events from `first` on; its content follows from its name."""
    name = f"{organisation}-{epoch}-{first}".encode()
    digest = sha256(name).digest()
    content = (digest * (size // 32 + 1))[:size]
    head = Head(epoch, first + 2, digest.hex(), 1_780_000_000_000 + first)
    return Batch(organisation, first, head, content, b"\0\xff" + digest, size)


def all_of(kept: Spool, organisation: str = "acme") -> list[Batch]:
    """Everything that waits."""
    return [kept.load(ref) for ref in kept.pending(organisation)]


def files_below(folder: Path) -> list[Path]:
    """Every file."""
    return [each for each in folder.rglob("*") if each.is_file()]


def size_of(files: Iterable[Path]) -> int:
    """Bytes of all."""
    return sum(each.stat().st_size for each in files)


@given(
    events=st.binary(max_size=200),
    bodies=st.binary(max_size=50),
    epoch=st.integers(0, 2**32 - 1),
    seq=st.integers(1, 2**64 - 3),
)
def test_a_batch_comes_back_as_it_was_put(
    tmp_path_factory: pytest.TempPathFactory, events: bytes, bodies: bytes, epoch: int, seq: int
) -> None:
    """Any content, and the bounds of epoch and seq, after the folder was opened again."""
    folder = tmp_path_factory.mktemp("spool")
    whole = Batch("acme", seq, Head(epoch, seq + 2, "ab" * 32, -5), events, bodies, 7)
    Spool(folder, PLENTY).put(whole)
    again = Spool(folder, PLENTY)
    (ref,) = again.pending("acme")
    assert (ref.organisation, ref.epoch, ref.first_seq, ref.last_seq) == (
        "acme",
        epoch,
        seq,
        seq + 2,
    )
    assert again.load(ref) == whole
    shutil.rmtree(folder)


def test_batches_wait_in_the_order_of_the_log(tmp_path: Path) -> None:
    """Epoch, then seq, as numbers, in whatever order they were put; the head is the last one's."""
    kept = Spool(tmp_path, PLENTY)
    assert kept.head("acme") is None
    places = [(1, 2), (1, 10), (1, 100), (2, 103), (10, 200)]
    for epoch, first in random.Random(7).sample(places, len(places)):
        kept.put(batch(first, epoch=epoch))
    assert [(each.epoch, each.first_seq) for each in kept.pending("acme")] == places
    assert kept.head("acme") == batch(200, epoch=10).head
    for ref in kept.pending("acme"):
        kept.remove(ref)
        kept.remove(ref)
    assert kept.head("acme") is None
    assert (kept.bytes_used, kept.organisations(), files_below(tmp_path)) == (0, (), [])


def test_any_organisation_has_a_folder_of_its_own(tmp_path: Path) -> None:
    """Names of all characters and lengths that scopes allow keep apart; others are refused."""
    names = sorted([EVERY_CHARACTER, "a", "A", "a.b", "a-b", "x" * 64, "0" + "~" * 63])
    kept = Spool(tmp_path, PLENTY)
    for name in names:
        kept.put(batch(organisation=name))
    again = Spool(tmp_path, PLENTY)
    assert list(again.organisations()) == names
    for name in names:
        assert all_of(again, name) == [batch(organisation=name)]
    for name in ("", ".", "..", ".a", "-a", "a/b", "../a", "a\0", "ä", "a\n", "x" * 65):
        with pytest.raises((PolicyInvalid, ValueError)):
            kept.put(batch(organisation=name))


def test_the_spool_is_bounded(tmp_path: Path) -> None:
    """The last byte fits and one more does not; nothing of what is refused is written; what is
    removed makes room."""
    measure = Spool(tmp_path / "measure", PLENTY)
    measure.put(batch())
    size = measure.bytes_used
    assert size == size_of(files_below(tmp_path / "measure"))
    kept = Spool(tmp_path / "kept", 2 * size)
    kept.put(batch(1))
    kept.put(batch(4))
    assert kept.bytes_used == 2 * size
    with pytest.raises(SpoolFull, match="no room for the"):
        kept.put(batch(7))
    assert len(files_below(tmp_path / "kept")) == 2
    assert Spool(tmp_path / "kept", 2 * size).bytes_used == 2 * size
    kept.put(batch(4))  # what is there needs no room
    kept.remove(kept.pending("acme")[0])
    kept.put(batch(7))
    assert all_of(kept) == [batch(4), batch(7)]
    with pytest.raises(SpoolFull):
        Spool(tmp_path / "small", size - 1).put(batch())


def test_the_spool_leaves_room_for_the_ledger(tmp_path: Path) -> None:
    """Where the disk would have less free than is to stay, nothing is put, and nothing is left."""
    kept = Spool(tmp_path, PLENTY, disk_free_bytes_min=2**60)
    with pytest.raises(SpoolFull, match="make room"):
        kept.put(batch())
    assert not files_below(tmp_path)
    assert kept.bytes_used == 0


def test_a_batch_that_is_there_is_not_put_twice(tmp_path: Path) -> None:
    """The same token once more changes nothing, except that a damaged file is whole again."""
    kept = Spool(tmp_path, PLENTY)
    kept.put(batch())
    (file,) = files_below(tmp_path)
    before = file.stat()
    kept.put(batch())
    assert file.stat().st_ino == before.st_ino
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    kept.put(batch())
    assert all_of(kept) == [batch()]
    assert files_below(tmp_path) == [file]
    assert kept.bytes_used == before.st_size


def test_a_full_disk_is_a_full_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk has no room for is refused like what the bound has none for; other errors are
    passed on; neither leaves a file or counts."""
    kept = Spool(tmp_path, PLENTY)
    for number, expected in (
        (errno.ENOSPC, SpoolFull),
        (errno.EDQUOT, SpoolFull),
        (errno.EIO, OSError),
    ):

        def failing(_: int, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", failing)
            with pytest.raises(expected):
                kept.put(batch())
        assert files_below(tmp_path) == []
        assert kept.bytes_used == 0
    kept.put(batch())
    assert all_of(kept) == [batch()]


def test_any_damage_is_found(tmp_path: Path) -> None:
    """A file with any byte changed, cut anywhere, longer or renamed is refused by its name, with
    what to do, and stays where it is."""
    kept = Spool(tmp_path, PLENTY)
    kept.put(batch())
    (ref,) = kept.pending("acme")
    content = ref.path.read_bytes()
    changed = [
        content[:n] + bytes((content[n] ^ 1,)) + content[n + 1 :] for n in range(len(content))
    ]
    cut = [content[:n] for n in range(len(content))]
    for damaged in (*changed, *cut, content + b"\0"):
        ref.path.write_bytes(damaged)
        with pytest.raises(SpoolDamaged) as error:
            kept.load(ref)
        assert str(ref.path) in str(error.value)
        assert "1-1 to 1-3 of acme" in str(error.value)
        assert "backup" in str(error.value)
    with pytest.raises(SpoolDamaged):
        kept.head("acme")
    ref.path.write_bytes(content)
    ref.path.rename(ref.path.with_name(ref.path.name.replace("1-", "2-", 1)))
    (renamed,) = kept.pending("acme")
    with pytest.raises(SpoolDamaged, match="renamed"):
        kept.load(renamed)
    with pytest.raises(SpoolDamaged, match="cannot be read"):
        kept.load(ref)


def test_foreign_files_are_left_alone(tmp_path: Path) -> None:
    """What is no batch is not one, but counts against the bound."""
    kept = Spool(tmp_path, PLENTY)
    kept.put(batch())
    for name in ("acme/notes.txt", "acme/1-2-3.batch", "README"):
        (tmp_path / name).write_bytes(b"xx")
    again = Spool(tmp_path, PLENTY)
    assert all_of(again) == [batch()]
    assert again.organisations() == ("acme",)
    assert again.bytes_used == kept.bytes_used + 4


def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    """Files 0600, folders 0700, whatever the umask lets through: prompts are in them."""
    before = os.umask(0)
    try:
        Spool(tmp_path / "a" / "spool", PLENTY).put(batch())
    finally:
        os.umask(before)
    modes = {
        each.relative_to(tmp_path).name: stat.S_IMODE(each.stat().st_mode)
        for each in tmp_path.rglob("*")
    }
    assert {mode for name, mode in modes.items() if name.endswith(".batch")} == {0o600}
    assert {modes[name] for name in ("a", "spool", "acme")} == {0o700}


def test_it_is_on_the_disk_before_put_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is synced before it has its name, and the folders after: a power cut finds it."""
    done: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def synced(number: int) -> None:
        sync(number)
        name = Path(f"/proc/self/fd/{number}").readlink().name
        done.append(("synced", name.split(".")[-1] if "batch" in name else name))

    def renamed(old: Path, new: Path) -> None:
        replace(old, new)
        done.append(("renamed", Path(new).suffix))

    kept = Spool(tmp_path / "spool", PLENTY)
    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    kept.put(batch())
    expected = [("synced", "spool"), ("synced", "new"), ("renamed", ".batch"), ("synced", "acme")]
    assert done == expected
    done.clear()
    kept.put(batch())  # who put it before may have died before the last of these
    assert done[-1] == ("synced", "acme")


def test_puts_from_many_threads_keep_the_bound(tmp_path: Path) -> None:
    """Puts at once, of several organisations and of the same batch, leave whole files and an exact
    account, and never pass the bound."""
    probe = Spool(tmp_path / "probe", PLENTY)
    probe.put(batch())
    kept = Spool(tmp_path / "kept", probe.bytes_used * 12)
    batches = [batch(first, name) for first in (1, 4, 7, 10) for name in ("aaaa", "bbbb", "cccc")]

    def put(whole: Batch) -> bool:
        with contextlib.suppress(SpoolFull):
            kept.put(whole)
            return True
        return False

    with ThreadPoolExecutor(8) as threads:
        done = list(threads.map(put, [each for each in batches for _ in range(3)]))
    assert any(done)
    there = [each for name in ("aaaa", "bbbb", "cccc") for each in all_of(kept, name)]
    assert len(there) == len({each.token for each in there})
    assert kept.bytes_used == size_of(files_below(tmp_path / "kept")) <= probe.bytes_used * 12


put_files = (spool.__file__, durable.__file__)


def put_before(folder: Path) -> None:
    """One batch is there."""
    Spool(folder / "spool", PLENTY).put(batch(1))


def put(folder: Path) -> None:
    """A second one, of another organisation, and a third."""
    kept = Spool(folder / "spool", PLENTY)
    kept.put(batch(1, "globex"))
    kept.put(batch(4))


def put_after(folder: Path, returned: bool) -> None:
    """The first is there; the others are whole or not there, and there if `put` returned."""
    kept = Spool(folder / "spool", PLENTY)
    acme, globex = all_of(kept), all_of(kept, "globex")
    assert acme in ([batch(1)], [batch(1), batch(4)])
    assert globex in ([], [batch(1, "globex")])
    assert bool(globex) or len(acme) == 1  # in the order they were put
    assert not returned or (len(acme), len(globex)) == (2, 1)
    files = files_below(folder)
    assert all(each.name.endswith(".batch") for each in files)
    assert kept.bytes_used == size_of(files)
    kept.put(batch(1, "globex"))
    kept.put(batch(4))
    assert (all_of(kept), all_of(kept, "globex")) == ([batch(1), batch(4)], [batch(1, "globex")])


remove_files = put_files


def remove_before(folder: Path) -> None:
    """Two batches are there."""
    kept = Spool(folder / "spool", PLENTY)
    kept.put(batch(1))
    kept.put(batch(4))


def remove(folder: Path) -> None:
    """The first goes."""
    kept = Spool(folder / "spool", PLENTY)
    kept.remove(kept.pending("acme")[0])


def remove_after(folder: Path, returned: bool) -> None:
    """It is whole or gone; the other stays."""
    kept = Spool(folder / "spool", PLENTY)
    assert all_of(kept) in ([batch(4)], [batch(1), batch(4)])
    assert not returned or len(all_of(kept)) == 1
    assert kept.bytes_used == size_of(files_below(folder))


@pytest.mark.parametrize("case", ["put", "remove"])
def test_a_kill_at_any_line_leaves_whole_batches(case: str, tmp_path: Path) -> None:
    """Killed before each line of the code in turn, the spool opens with what was put, whole, sweeps
    what was half written, counts right, and goes on."""
    assert killed_before_every_line("tests.recorder.test_spool", case, tmp_path) > 20


def test_kills_at_random_lose_nothing(tmp_path: Path) -> None:
    """A process that puts large batches as fast as it can is killed at random, again and again:
    everything that `put` returned for, and that was not removed, is there and whole."""
    there: dict[int, Batch] = {}
    chance = random.Random(11)
    first = 1
    for _ in range(5):
        told = _killed_while_putting(tmp_path, first, chance)
        for word, number in told:
            if word == "put":
                there[number] = batch(number, size=200_000)
            else:
                there.pop(number, None)
            first = max(first, number + 6)
        kept = Spool(tmp_path, PLENTY)
        found = {each.first_seq: each for each in all_of(kept)}
        assert there.items() <= found.items()
        assert found == {number: batch(number, size=200_000) for number in found}
        assert all(each.suffix == ".batch" for each in files_below(tmp_path))
    assert there


def _killed_while_putting(folder: Path, first: int, chance: random.Random) -> list[tuple[str, int]]:
    """What the child said before it was killed."""
    command = [sys.executable, "-m", "tests.recorder.test_spool", str(folder), str(first)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        told = [child.stdout.readline()]
        time.sleep(chance.random() / 50)  # no event: any moment is the right one
        child.kill()
        told += child.stdout.readlines()
    whole = [line.split() for line in told if line.endswith("\n")]
    return [(word, int(number)) for word, number in whole]


def _put_for_ever(folder: Path, first: int) -> None:
    kept = Spool(folder, PLENTY)
    for number in count(first, 3):
        kept.put(batch(number, size=200_000))
        print("put", number, flush=True)  # noqa: T201  # read by the test
        if number % 5 == 0:
            oldest = kept.pending("acme")[0]
            print("remove", oldest.first_seq, flush=True)  # noqa: T201  # read by the test
            kept.remove(oldest)


if __name__ == "__main__":
    _put_for_ever(Path(sys.argv[1]), int(sys.argv[2]))
