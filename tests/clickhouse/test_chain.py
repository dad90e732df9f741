"""The hash chain, against the sentence that defines it."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from clickhouse.chain import GENESIS, link

TEXTS = st.lists(st.binary(max_size=40), min_size=1, max_size=12, unique=True)


def chained(texts: list[bytes]) -> list[str]:
    """The hashes of these texts on GENESIS."""
    hashes = [GENESIS]
    for text in texts:
        hashes.append(link(hashes[-1], text))
    return hashes[1:]


def test_a_link_is_sha256_of_hash_line_feed_and_text() -> None:
    """The definition, by hand, for the first event and the one after it."""
    first = hashlib.sha256(b"0" * 64 + b"\n" + b'["a"]').hexdigest()
    second = hashlib.sha256(first.encode() + b"\n" + b'["b"]').hexdigest()
    assert GENESIS == "0" * 64
    assert chained([b'["a"]', b'["b"]']) == [first, second]


def test_links_are_pinned() -> None:
    """Hashes that were written once must verify for ever."""
    assert link(GENESIS, b"[]") == (hashlib.sha256(b"0" * 64 + b"\n[]").hexdigest()), "definition"
    assert link(GENESIS, b"[]")[:16] == "61d6b7dec2b04ce6"


@given(TEXTS, st.data())
def test_any_change_shows_in_every_hash_after_it(texts: list[bytes], data: st.DataObject) -> None:
    """Changing an event leaves the hashes before it and changes all from it on."""
    at = data.draw(st.integers(0, len(texts) - 1))
    changed = [*texts[:at], texts[at] + b"!", *texts[at + 1 :]]
    before, after = chained(texts), chained(changed)
    assert before[:at] == after[:at]
    assert all(one != other for one, other in zip(before[at:], after[at:], strict=True))


@given(TEXTS.filter(lambda texts: len(texts) > 1), st.data())
def test_nothing_is_moved_or_left_out(texts: list[bytes], data: st.DataObject) -> None:
    """Leaving an event out, or exchanging two neighbours, changes the end of the chain."""
    at = data.draw(st.integers(0, len(texts) - 2))
    swapped = [*texts[:at], texts[at + 1], texts[at], *texts[at + 2 :]]
    without = texts[:at] + texts[at + 1 :]
    assert len({chained(texts)[-1], chained(swapped)[-1], chained(without)[-1]}) == 3


def test_a_text_cannot_stand_for_hash_and_text() -> None:
    """The line feed keeps hash and text apart: a text that begins with hex is not another link."""
    head = link(GENESIS, b"a")
    assert link(head[:32], head[32:].encode() + b"\nb") != link(head, b"b")
