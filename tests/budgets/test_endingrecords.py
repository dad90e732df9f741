"""Files of endings as bytes: whatever a crash or a bad disk leaves of one, what is whole is read,
and what is not is not taken for something else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.answers import Truth
from budgets.endingrecords import (
    HEADER_BYTES,
    MAGIC,
    Ending,
    kept_record,
    mark_in,
    new_header,
    read_records,
    taken_record,
)

TRUTHS = (Truth(70, 5), None, Truth(None, None), Truth(2**60, 0, 0))
ENDINGS = {
    n: Ending("acme", f"{n:032x}", truth, b'{"n": %d}' % n, b"\x00\xc1" * n, "ab" * n)
    for n, truth in enumerate(TRUTHS, 1)
}


def pieces() -> list[bytes]:
    """A header and a record for each of ENDINGS."""
    header = new_header()
    return [header, *(kept_record(mark_in(header), *each) for each in ENDINGS.items())]


def test_what_was_written_is_read() -> None:
    """Every ending comes back as it was, in order, under its number."""
    content = b"".join(pieces())
    found = read_records(content)
    assert found.endings == ENDINGS
    assert list(found.endings) == [1, 2, 3, 4]
    assert (found.whole_bytes, found.is_damaged) == (len(content), False)


def test_what_the_ledger_has_taken_is_not_read() -> None:
    """A mark takes out one number, and only that."""
    parts = pieces()
    parts.append(taken_record(mark_in(parts[0]), 2))
    assert list(read_records(b"".join(parts)).endings) == [1, 3, 4]


def test_a_file_cut_at_any_byte_is_read_up_to_its_last_whole_record() -> None:
    """A crash in the middle of a write takes what it was about to write, nothing before it, and is
    no damage."""
    parts = pieces()
    content, ends = b"".join(parts), [sum(map(len, parts[: n + 1])) for n in range(len(parts))]
    for cut in range(len(content)):
        found = read_records(content[:cut])
        whole = sum(end <= cut for end in ends) - 1
        assert list(found.endings) == list(range(1, whole + 1)), cut
        assert not found.is_damaged, cut
        assert found.whole_bytes == (ends[whole] if whole >= 0 else 0)


def test_zeros_behind_the_records_are_no_damage() -> None:
    """A power cut can leave a file longer than what was written into it."""
    found = read_records(b"".join(pieces()) + bytes(5_000))
    assert found.endings == ENDINGS
    assert not found.is_damaged


def test_a_byte_changed_anywhere_is_noticed_and_costs_one_record() -> None:
    """Behind damage reading goes on at the next record: what is whole is not lost with it. In the
    last record it looks like a write that was cut short."""
    parts = pieces()
    content, last = b"".join(parts), len(parts[-1])
    for at in range(HEADER_BYTES, len(content)):
        changed = bytearray(content)
        changed[at] ^= 0x20
        found = read_records(bytes(changed))
        assert len(found.endings) == len(ENDINGS) - 1, at
        assert all(ENDINGS[number] == each for number, each in found.endings.items())
        assert found.is_damaged == (at < len(content) - last), at


@pytest.mark.parametrize(
    "content", [b"foreign", b"x" * 500, MAGIC[:-1] + b"2" + b"m" * 90, bytes(60)]
)
def test_a_foreign_file_is_damage(content: bytes) -> None:
    """What does not begin as a file of ours is not read."""
    found = read_records(content)
    assert (found.endings, found.is_damaged) == ({}, True)


def test_a_payload_cannot_pass_for_a_record() -> None:
    """A body that holds a whole file of endings, cut in the middle of its own record, gives
    nothing: each file has a mark that nobody knows."""
    header = new_header()
    hostile = b"".join(pieces())
    ending = Ending("acme", "0" * 32, Truth(1, 1), b"{}", hostile * 3, "")
    content = header + kept_record(mark_in(header), 1, ending)
    found = read_records(content[:-10])
    assert (found.endings, found.is_damaged) == ({}, False)


def test_what_another_version_wrote_is_set_aside() -> None:
    """A record that is whole and not understood is damage, not an ending."""
    parts = pieces()
    parts.append(kept_record(mark_in(parts[0]), 9, Ending("acme", "no time", None, b"", b"", "")))
    found = read_records(b"".join(parts))
    assert (found.endings, found.is_damaged) == (ENDINGS, True)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_without_an_error(content: bytes) -> None:
    """Nothing on a disk can stop a worker's start."""
    read_records(content)
    header = new_header()
    read_records(header + content)
    read_records(header + mark_in(header) + content)
