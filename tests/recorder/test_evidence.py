"""Evidence: a file that a third party checks, and the script that does it with nothing of ours."""

import ast
import contextlib
import functools
import io
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from clickhouse.events import COLUMNS, FIRST_COLUMNS, canonical
from recorder import verify_evidence
from recorder.evidence import FORMAT, write_evidence
from recorder.verification import RowUnreadable
from recorder.verify_evidence import is_signed
from tests.recorder.chains import (
    KEY,
    ORG,
    OTHER_KEY,
    PLACES,
    SIGNED,
    TAMPERINGS,
    as_list,
    chained,
    checked,
    clean,
    event,
    evidence,
    lines,
    other,
    signed,
)

SCRIPT = Path(verify_evidence.__file__)
# RFC 8032, 7.1: tests 1 and 2.
RFC_8032 = [
    (
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        "",
    ),
    (
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        "r",
    ),
]


CHECKED_ONCE = functools.cache(is_signed)


@pytest.fixture(autouse=True)
def _signatures_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pure Python takes 10 ms for a signature: the same one is not checked a thousand times."""
    monkeypatch.setattr(verify_evidence, "is_signed", CHECKED_ONCE)


def run(file: Path, *arguments: str) -> tuple[int, str]:
    """The script's exit code and what it says: a copy of it, alone in a folder, isolated from
    whatever is installed."""
    script = file.parent / "verify_evidence.py"
    shutil.copyfile(SCRIPT, script)
    command = [sys.executable, "-I", "-S", str(script), str(file), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=file.parent)
    return done.returncode, done.stdout + done.stderr


def test_the_file_says_what_it_is() -> None:
    """First the format with the columns, then the heads, then each event: its hash and the very
    bytes that were hashed."""
    log, heads = clean()
    about, *rest = evidence(log, heads).splitlines()
    assert json.loads(about) == {
        "format": FORMAT,
        "organisation": ORG,
        "public_key": KEY.public_hex,
        "columns": list(COLUMNS),
        "columns_least": FIRST_COLUMNS,
    }
    assert [json.loads(line)["head"]["seq"] for line in rest[:3]] == [4, 8, 14]
    expected = [b'["%b",%b]' % (each.hash.encode(), canonical(each.event)) for each in log]
    assert rest[3:] == expected


def test_the_script_alone_finds_a_clean_log_right(tmp_path: Path) -> None:
    """Exit code 0, with and without the key known from elsewhere, and what is signed is said."""
    log, heads = clean()
    file = tmp_path / "evidence.jsonl"
    file.write_bytes(evidence(log, heads))
    for arguments in ([], ["--public-key", KEY.public_hex.upper()]):
        code, said = run(file, *arguments)
        assert code == 0, said
        assert said.startswith("RIGHT: 12 events up to (2, 14). Signed up to (2, 14)")


def test_the_script_alone_names_what_is_wrong(tmp_path: Path) -> None:
    """Exit code 4 for a tampered file, a key that is not the known one, and what is no evidence."""
    log, heads = clean()
    file = tmp_path / "evidence.jsonl"
    file.write_bytes(evidence([*log[:5], *log[6:]], heads))
    assert run(file) == (
        4,
        "WRONG: (1, 7) follows (1, 5): events are missing, moved, or there twice\n",
    )
    file.write_bytes(evidence(log, heads))
    code, said = run(file, "--public-key", OTHER_KEY.public_hex)
    assert (code, said[:24]) == (4, "WRONG: (1, 4) not signed")
    for nonsense in (b"", b"\n", b"[]", b"{}", b"\xff\xfe", b'{"organisation":1}\n{}', b"null\n"):
        file.write_bytes(nonsense)
        code, said = run(file)
        assert code == 4, (nonsense, said)
        assert said.startswith("WRONG")


def test_the_script_imports_nothing_of_ours() -> None:
    """Under 100 lines, and only modules of the standard library."""
    text = SCRIPT.read_text(encoding="utf-8")
    assert len(text.splitlines()) < 100
    imported = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            imported |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None
            imported.add(node.module)
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_named(name: str) -> None:
    """The stand-alone verifier finds every kind of tampering, and names where."""
    tampering = TAMPERINGS[name]
    log, heads = tampering.done(*clean())
    said = checked(evidence(log, heads), KEY.public_hex)
    assert said.startswith("WRONG")
    assert tampering.named in said


@pytest.mark.parametrize("row", [0, 5, 11])
@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_can_be_changed(column: str, row: int) -> None:
    """Changing one column of one event is found there: neither event nor predecessor is passed."""
    log, heads = clean()
    content = evidence(log, heads).splitlines(keepends=True)
    values = dict(zip(COLUMNS, as_list(log[row].event), strict=True))
    values[column] = other(column, values[column])
    text = json.dumps(list(values.values()), ensure_ascii=False, separators=(",", ":"))
    content[4 + row] = f'["{log[row].hash}",{text}]\n'.encode()
    said = checked(b"".join(content))
    before = (log[row - 1].event.epoch, log[row - 1].event.seq) if row else (0, 0)
    assert said.startswith("WRONG")
    assert str((values["epoch"], values["seq"])) in said or str(before) in said


@pytest.mark.parametrize("row", [0, 5, 11])
def test_no_byte_can_be_changed(row: int) -> None:
    """Changing any byte of an event's line is found, even one that JSON does not count."""
    log, heads = clean()
    content = evidence(log, heads).splitlines(keepends=True)
    line = content[4 + row]
    for at in range(len(line)):
        for byte in (line[at] ^ 1, ord(" ")):
            if byte != line[at]:
                content[4 + row] = line[:at] + bytes((byte,)) + line[at + 1 :]
                assert said_wrong(b"".join(content)), (at, byte)


def said_wrong(content: bytes) -> bool:
    """Whether the verifier refuses it."""
    return checked(content).startswith("WRONG")


def test_evidence_may_begin_after_a_signed_head() -> None:
    """Dropped days are no fault if the first event stands on a head in the file; without it, it
    is."""
    log, heads = clean()
    assert checked(evidence(log[4:], heads)).startswith("RIGHT: 8 events")
    assert checked(evidence(log[8:], heads)).startswith("RIGHT: 4 events")
    assert said_wrong(evidence(log[4:], heads[1:]))
    assert said_wrong(evidence(log[5:], heads))


@pytest.mark.parametrize(("place", "right"), [((2, 7), True), ((1, 7), False)])
def test_a_log_may_begin_with_a_recovery(place: tuple[int, int], right: bool) -> None:
    """Of an organisation that had no event before: in a later epoch, and not within the first."""
    log = chained([event(*place), event(place[0], place[1] + 1)])
    told = checked(evidence(log, signed(log, [1])))
    assert told.startswith("RIGHT" if right else "WRONG"), told


def test_unsigned_evidence_proves_nothing() -> None:
    """Without a signed event in it a file is refused: anybody could have made it."""
    log, heads = clean()
    assert "nothing" not in checked(evidence(log, heads))
    for file in (evidence(log, []), evidence(log[4:6], heads[:1]), evidence([], [])):
        assert "no event is signed" in checked(file)


def test_what_is_added_after_the_last_head_is_not_called_signed() -> None:
    """Anyone can add events at the end; the verdict says how far the signatures go."""
    log, heads = clean()
    forged = chained([log[11].event], log[10].hash)
    longer = [*log[:11], *forged]
    assert "Signed up to (1, 8)" in checked(evidence(longer, heads[:2]))


def test_the_parts_of_the_file_have_their_places() -> None:
    """Heads come first, events have the columns that the file names, at least those of the first
    version, and empty lines of the answer are no rows."""
    log = chained(event(*place, reported_nusd=5, computed_nusd=0) for place in PLACES)
    heads = signed(log, SIGNED)
    content = evidence(log, heads).splitlines(keepends=True)
    assert said_wrong(b"".join([*content[:3], *content[4:], content[3]]))
    assert said_wrong(b"".join([content[0].replace(b',"detail"', b""), *content[1:]]))
    assert said_wrong(b"".join([content[0].replace(b":57", b":67"), *content[1:]]))
    file = io.BytesIO()
    assert write_evidence(file, ORG, KEY.public_hex, heads, [*lines(log), b"", b"\n"]) == 12
    assert file.getvalue() == b"".join(content)


def test_evidence_of_the_first_version_is_read_and_old_events_stand_beside_new(
    tmp_path: Path,
) -> None:
    """A file that names 57 columns and no least, as the first version wrote it; and one in which a
    log goes on with events that fill the later columns, which a reader without them refuses."""
    log, heads = clean()
    about, *rest = evidence(log, heads).splitlines(keepends=True)
    said = json.loads(about)
    assert len(rest[3].split(b",", 1)[1]) == len(canonical(log[0].event)) + len(b"]\n")
    old = {**said, "columns": said["columns"][:FIRST_COLUMNS]}
    del old["columns_least"]
    file = tmp_path / "evidence.jsonl"
    file.write_bytes(json.dumps(old).encode() + b"\n" + b"".join(rest))
    assert run(file)[0] == 0
    later = [
        event(*place, service_tier="flex", video_input=3, reported_nusd=None if n % 2 else 7)
        for n, place in enumerate(PLACES[6:])
    ]
    mixed = chained([*(each.event for each in log[:6]), *later])
    content = evidence(mixed, signed(mixed, SIGNED))
    file.write_bytes(content)
    assert run(file)[0] == 0
    file.write_bytes(json.dumps(old).encode() + b"\n" + content.split(b"\n", 1)[1])
    assert run(file)[0] == 4


def test_a_row_that_no_event_makes_is_refused() -> None:
    """What cannot be read cannot be exported as if it could."""
    log, heads = clean()
    broken = [log[0]._replace(hash="x")]
    assert lines(broken)
    with pytest.raises(RowUnreadable):
        evidence(broken, heads)


@pytest.mark.parametrize(("key", "signature", "text"), RFC_8032)
def test_ed25519_follows_the_rfc(key: str, signature: str, text: str) -> None:
    """The test vectors of RFC 8032 pass, and fail with another text, key or signature."""
    assert is_signed(key, signature, text)
    assert not is_signed(key, signature, text + "x")
    assert not is_signed(key, signature[:-2] + "01", text)
    assert not is_signed(KEY.public_hex, signature, text)
    assert not is_signed(key, signature + "00", text)


def test_ed25519_takes_one_form_only() -> None:
    """RFC 8032, 5.1.3 and 5.1.7: an s that is not reduced, a y that is not, and a sign of a zero x
    are refused, so that a signature cannot be made into another one."""
    key, signature, text = RFC_8032[1]
    s = int.from_bytes(bytes.fromhex(signature)[32:], "little") + verify_evidence.ORDER
    assert not is_signed(key, signature[:64] + s.to_bytes(32, "little").hex(), text)
    assert verify_evidence.decoded((1).to_bytes(32, "little")) == (0, 1, 1, 0)
    for encoded in (verify_evidence.P + 1, 1 + 2**255, 2):
        with pytest.raises(ValueError, match="no point"):
            verify_evidence.decoded(encoded.to_bytes(32, "little"))


@settings(max_examples=15)
@given(
    secret=st.binary(min_size=32, max_size=32),
    text=st.text(st.characters(exclude_categories=["Cs"])),
    bit=st.integers(0, 511),
)
def test_ed25519_agrees_with_the_library(secret: bytes, text: str, bit: int) -> None:
    """What the library signs is signed; with any bit of the signature turned it is not."""
    private = Ed25519PrivateKey.from_private_bytes(secret)
    signature = private.sign(text.encode())
    key = private.public_key().public_bytes_raw().hex()
    assert is_signed(key, signature.hex(), text)
    turned = (int.from_bytes(signature, "big") ^ (1 << bit)).to_bytes(64, "big")
    with contextlib.suppress(ValueError):  # no point of the curve: refused as well
        assert not is_signed(key, turned.hex(), text)


@settings(max_examples=20)
@given(data=st.data())
def test_all_heads_and_no_other_are_taken(data: st.DataObject) -> None:
    """Any choice of heads passes on a clean log; a rewritten one fails where the first head after
    the change is."""
    log, _ = clean()
    chosen = sorted(data.draw(st.sets(st.integers(0, 11), min_size=1, max_size=3)))
    assert checked(evidence(log, signed(log, chosen))).startswith("RIGHT")
    row = data.draw(st.integers(0, chosen[-1]))
    rewritten, _ = TAMPERINGS["all rewritten"].done(log, [])
    mixed = [*log[:row], *chained([each.event for each in rewritten[row:]], log[row].prev_hash)]
    said = checked(evidence(mixed, signed(log, chosen)))
    head = next(each for each in chosen if each >= row)
    assert f"event {(log[head].event.epoch, log[head].event.seq)} is not the one" in said
