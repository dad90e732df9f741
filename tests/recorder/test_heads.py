"""Signed heads: made once, never taken back, and there after any death."""

import errno
import os
import random
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from budgets.policy import PolicyInvalid
from recorder import durable, heads
from recorder.batch import Head
from recorder.heads import (
    HeadRefused,
    HeadsDamaged,
    HeadsFile,
    SignedHead,
    SigningKey,
    SigningKeyUnusable,
    heads_path,
    read_heads,
    signed_text,
)
from tests.recorder.chains import DAY_MS, KEY, OTHER_KEY
from tests.recorder.killing import killed_before_every_line

NOON_MS = 20_000 * DAY_MS + DAY_MS // 2


def head(seq: int, time_ms: int = NOON_MS, epoch: int = 1) -> Head:
    """The end of some chain."""
    return Head(epoch, seq, f"{seq:064x}", time_ms)


def opened(folder: Path, organisation: str = "acme") -> HeadsFile:
    """The organisation's file."""
    return HeadsFile(folder, organisation, KEY)


def read(folder: Path) -> list[Head]:
    """What is in the file, as the verifier reads it."""
    return [each.head for each in read_heads(folder, "acme")]


def test_the_signed_text_is_as_published() -> None:
    """Six lines, signed with Ed25519: what a third party checks without our code."""
    signed = KEY.sign("acme", Head(3, 41, "ab" * 32, 1_780_000_000_123))
    text = b"comptroller-head-1\nacme\n3\n41\n" + b"ab" * 32 + b"\n1780000000123\n"
    assert signed_text("acme", signed.head) == text
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(KEY.public_hex))
    key.verify(bytes.fromhex(signed.signature), text)
    assert signed.is_signed_by(KEY.public_hex)


def test_nothing_in_a_signed_head_can_be_changed() -> None:
    """Another organisation, place, hash, time, key or signature is not what was signed."""
    signed = KEY.sign("acme", head(41))
    other = OTHER_KEY.sign("acme", head(41))
    changed = [
        replace(signed, organisation="acme2"),
        replace(signed, head=replace(signed.head, epoch=2)),
        replace(signed, head=replace(signed.head, seq=42)),
        replace(signed, head=replace(signed.head, time_ms=NOON_MS + 1)),
        replace(signed, head=replace(signed.head, hash="0" * 64)),
        *(replace(signed, signature=text) for text in (other.signature, "", "zz", "00" * 64)),
        replace(other, key=KEY.public_hex),
        replace(signed, key="", signature=""),
        other,
    ]
    for each in changed:
        assert not each.is_signed_by(KEY.public_hex)
    assert not SignedHead("acme", signed.head, "zz", signed.signature).is_signed_by("zz")
    assert not signed.is_signed_by(OTHER_KEY.public_hex)


def test_the_key_is_made_once_and_for_us_alone(tmp_path: Path) -> None:
    """A second opening finds the key of the first, in a file of mode 0600; nothing else stays."""
    path = tmp_path / "signing-key"
    key = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).public_hex == key.public_hex
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    assert key.sign("acme", head(1)).is_signed_by(key.public_hex)
    assert SigningKey.load_or_create(tmp_path / "other").public_hex != key.public_hex


def test_all_who_make_the_key_at_once_have_the_same(tmp_path: Path) -> None:
    """Of several that find none at the same time, one makes it and the others take it."""
    path = tmp_path / "signing-key"
    with ThreadPoolExecutor(8) as threads:
        keys = list(threads.map(lambda _: SigningKey.load_or_create(path).public_hex, range(16)))
    assert len(set(keys)) == 1
    assert list(tmp_path.iterdir()) == [path]


def test_a_key_that_cannot_be_used_is_not_replaced(tmp_path: Path) -> None:
    """A key that others can read, an empty or broken file, and a key of another kind are refused
    with what to do; the file stays as it is."""
    path = tmp_path / "signing-key"
    SigningKey.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(SigningKeyUnusable, match="chmod 600"):
        SigningKey.load_or_create(path)
    path.chmod(0o600)
    other_kind = X25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
    )
    for content in (b"", b"nonsense", path.read_bytes()[:-40], other_kind):
        path.write_bytes(content)
        with pytest.raises(SigningKeyUnusable, match="restore"):
            SigningKey.load_or_create(path)
        assert path.read_bytes() == content


def test_heads_are_there_when_they_were_appended(tmp_path: Path) -> None:
    """What was appended is read in order, signed by our key, by whoever opens the file later."""
    file = opened(tmp_path / "heads")
    assert (file.last, file.heads(), read_heads(tmp_path / "heads", "acme")) == (None, (), ())
    for seq in (3, 7, 8):
        file.append(head(seq))
    file.append(head(9, epoch=2))
    again = opened(tmp_path / "heads")
    assert again.last == head(9, epoch=2)
    assert [each.head for each in again.heads()] == [head(3), head(7), head(8), head(9, epoch=2)]
    assert all(each.is_signed_by(KEY.public_hex) for each in again.heads())
    assert again.heads() == read_heads(tmp_path / "heads", "acme")
    assert read_heads(tmp_path / "heads", "globex") == ()
    assert stat.S_IMODE((tmp_path / "heads").stat().st_mode) == 0o700
    assert stat.S_IMODE(heads_path(tmp_path / "heads", "acme").stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["", ".", "..", "../a", "a/b", ".a", "a\0", "x" * 65])
def test_an_organisation_cannot_lead_out_of_the_folder(name: str, tmp_path: Path) -> None:
    """Only what can be an organisation has a file."""
    with pytest.raises((PolicyInvalid, ValueError)):
        opened(tmp_path, name)
    with pytest.raises((PolicyInvalid, ValueError)):
        read_heads(tmp_path, name)


def test_a_head_is_never_taken_back(tmp_path: Path) -> None:
    """At or below the last head nothing is signed, in this process or a later one; what is signed
    already may be said again, and changes nothing."""
    file = opened(tmp_path)
    file.append(head(5))
    file.append(head(8, epoch=2))
    content = heads_path(tmp_path, "acme").read_bytes()
    for again in (file, opened(tmp_path)):
        for known in (head(5), head(8, epoch=2)):
            again.append(known)
        refused = (head(6), head(9), head(5, NOON_MS + 1), replace(head(8, epoch=2), hash="f" * 64))
        for each in (*refused, head(7, epoch=2)):
            with pytest.raises(HeadRefused, match="comptroller verify"):
                again.append(each)
    assert heads_path(tmp_path, "acme").read_bytes() == content
    file.append(head(9, epoch=2))


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    """Cut anywhere in its last line, or grown by zeros, the file opens with what was whole, and
    goes on; a reader leaves it as it is."""
    file = opened(tmp_path)
    for seq in (1, 2, 3):
        file.append(head(seq))
    path = heads_path(tmp_path, "acme")
    content = path.read_bytes()
    before = content[: content.rindex(b"\n", 0, -1) + 1]
    cuts = [*range(len(before) + 1, len(content), 20), len(content) - 2, len(content) - 1]
    torn = [content[:cut] for cut in cuts]
    torn += [before + b"\0" * 100, before + b"\0" * 100 + b'"}\n', before + b"\xff\n"]
    for each in torn:
        path.write_bytes(each)
        assert read(tmp_path) == [head(1), head(2)]
        assert path.read_bytes() == each
        again = opened(tmp_path)
        assert path.read_bytes() == before
        again.append(head(3))
        assert path.read_bytes() == content


def test_damage_elsewhere_is_an_error(tmp_path: Path) -> None:
    """A line that is torn before others is named: nothing that was appended goes unnoticed."""
    file = opened(tmp_path)
    for seq in (1, 2, 3):
        file.append(head(seq))
    path = heads_path(tmp_path, "acme")
    lines = path.read_bytes().splitlines(keepends=True)
    for damaged in (lines[1][:-20] + b"\n", b"\xff\n", b"\n", b"{}\n", b"null\n"):
        path.write_bytes(lines[0] + damaged + lines[2])
        with pytest.raises(HeadsDamaged, match=r"line 2 of .*acme\.jsonl"):
            opened(tmp_path)
        with pytest.raises(HeadsDamaged, match="line 2"):
            read_heads(tmp_path, "acme")


def test_an_append_that_fails_leaves_no_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk does not take a line, none of it stays, and the next one is whole."""
    file = opened(tmp_path)
    file.append(head(1))

    def failing(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", failing)
        with pytest.raises(OSError, match="no space"):
            file.append(head(2))
    assert read(tmp_path) == [head(1)]
    assert file.last == head(1)
    file.append(head(2))
    assert read(tmp_path) == [head(1), head(2)]


def test_heads_appended_from_many_threads_only_rise(tmp_path: Path) -> None:
    """Whatever the threads' order, the file's lines are whole and its heads rise."""
    file = opened(tmp_path)

    def append(seq: int) -> None:
        try:
            file.append(head(seq))
        except HeadRefused:
            assert file.last is not None
            assert file.last.seq > seq

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(append, random.Random(5).sample(range(1, 41), 40)))
    seqs = [each.seq for each in read(tmp_path)]
    assert seqs == sorted(set(seqs))
    assert seqs[-1] == 40


@settings(max_examples=40)
@given(
    hours=st.lists(st.integers(0, 24 * 5), min_size=1, max_size=12),
    keep_after=st.integers(-1, 24 * 6),
)
def test_thinning_keeps_the_last_head_of_each_day(
    tmp_path_factory: pytest.TempPathFactory, hours: list[int], keep_after: int
) -> None:
    """Whatever the heads: all since the bound stay, and of older days the last; a second time
    nothing more goes, and the file goes on."""
    folder = tmp_path_factory.mktemp("heads")
    file = HeadsFile(folder, "acme", KEY)
    all_heads = [
        head(seq, 20_000 * DAY_MS + hour * 3_600_000) for seq, hour in enumerate(sorted(hours), 1)
    ]
    for each in all_heads:
        file.append(each)
    bound = 20_000 * DAY_MS + keep_after * 3_600_000
    file.thin(bound)
    kept = read(folder)
    last_of_day = {each.time_ms // DAY_MS: each for each in all_heads}
    assert kept == [
        each
        for each in all_heads
        if each.time_ms >= bound or each == last_of_day[each.time_ms // DAY_MS]
    ]
    file.thin(bound)
    assert read(folder) == kept
    file.append(head(99, 10**15))
    assert read(folder) == [*kept, head(99, 10**15)]


append_files = thin_files = (heads.__file__, durable.__file__)
create_files = append_files


def append_before(folder: Path) -> None:
    """One head is there."""
    opened(folder).append(head(1))


def append(folder: Path) -> None:
    """Two more."""
    file = opened(folder)
    file.append(head(2))
    file.append(head(3))


def append_after(folder: Path, returned: bool) -> None:
    """What is there is whole and in order, all of it if `append` returned; and it goes on."""
    seqs = [each.seq for each in read(folder)]
    assert seqs in ([1], [1, 2], [1, 2, 3])
    assert not returned or len(seqs) == 3
    append(folder)
    assert [each.seq for each in read(folder)] == [1, 2, 3]


def thin_before(folder: Path) -> None:
    """Four heads of two days."""
    file = opened(folder)
    for seq, time_ms in enumerate(
        (NOON_MS, NOON_MS + 1, NOON_MS + DAY_MS, NOON_MS + DAY_MS + 1), 1
    ):
        file.append(head(seq, time_ms))


def thin(folder: Path) -> None:
    """All but the last of each day go."""
    opened(folder).thin(NOON_MS + 3 * DAY_MS)


def thin_after(folder: Path, returned: bool) -> None:
    """The old file or the new one; and it can be thinned again."""
    seqs = [each.seq for each in read(folder)]
    assert seqs in ([1, 2, 3, 4], [2, 4])
    assert not returned or seqs == [2, 4]
    thin(folder)
    assert [each.seq for each in read(folder)] == [2, 4]


def create_before(_: Path) -> None:
    """No key is there."""


def create(folder: Path) -> None:
    """A key is made."""
    SigningKey.load_or_create(folder / "signing-key")


def create_after(folder: Path, returned: bool) -> None:
    """A key is there whole, or none; from then on it is the same one."""
    assert not returned or (folder / "signing-key").exists()
    before = (folder / "signing-key").exists() and SigningKey.load_or_create(folder / "signing-key")
    key = SigningKey.load_or_create(folder / "signing-key")
    assert not before or before.public_hex == key.public_hex


@pytest.mark.parametrize("case", ["append", "thin", "create"])
def test_a_kill_at_any_line_leaves_whole_files(case: str, tmp_path: Path) -> None:
    """Killed before each line of the code in turn, files are the old or the new, and go on."""
    assert killed_before_every_line("tests.recorder.test_heads", case, tmp_path) > 15


def test_the_key_is_an_ordinary_one(tmp_path: Path) -> None:
    """PEM, PKCS 8: other tools read it, and a key that they made is taken."""
    path = tmp_path / "signing-key"
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.touch(0o600)
    path.write_bytes(pem)
    key = SigningKey.load_or_create(path)
    assert key.public_hex == private.public_key().public_bytes_raw().hex()
