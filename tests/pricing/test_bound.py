"""The byte bound: no tokenizer makes more tokens, and no text makes it slow."""

import json
import time
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing.bound import (
    MESSAGE_OVERHEAD_TOKENS,
    REQUEST_OVERHEAD_TOKENS,
    RUN_CHARS_MAX,
    json_tokens_max,
    overhead_tokens,
    text_tokens_max,
)

ANY_CHAR = st.characters(codec=None)
TEXT = st.text(ANY_CHAR, max_size=80)
MARKS = st.text(st.sampled_from("\u0301\u0323\u0327\u3099e\uac00\u11a8\ufdfa"), max_size=400)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


def utf8(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@settings(deadline=None, max_examples=300)
@given(text=TEXT | MARKS)
def test_the_bound_holds_before_and_after_normalising(text: str) -> None:
    """The bound is at least the UTF-8 length and that of NFKC and NFC, for any text at all."""
    bound = text_tokens_max(text)
    assert bound >= utf8(text)
    assert bound >= utf8(unicodedata.normalize("NFKC", text))
    assert bound >= utf8(unicodedata.normalize("NFC", text))


@settings(deadline=None)
@given(text=st.text(ANY_CHAR, max_size=RUN_CHARS_MAX))
def test_short_runs_have_the_exact_bound(text: str) -> None:
    """Where normalising is cheap the bound is exactly the larger length, not a looser one."""
    assert text_tokens_max(text) == max(utf8(text), utf8(unicodedata.normalize("NFKC", text)))


def test_a_mark_across_two_pieces_is_not_lost() -> None:
    """A later mark can undo a composition; cutting a long run between them must not hide that."""
    pieces = ["漢" * (RUN_CHARS_MAX - 2) + "ü\u0301"]
    pieces += ["\u0323" + "漢" * (RUN_CHARS_MAX - 3) + "ü\u0301"] * 3
    text = "".join(pieces)
    normal = utf8(unicodedata.normalize("NFKC", text))
    assert normal > max(utf8(text), sum(utf8(unicodedata.normalize("NFKC", p)) for p in pieces))
    assert text_tokens_max(text) >= normal


@settings(deadline=None)
@given(text=st.text(st.characters(codec="ascii")))
def test_ascii_is_counted_in_characters(text: str) -> None:
    """An ASCII text has as many bytes as characters."""
    assert text_tokens_max(text) == len(text)


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("é", 2), ("😀", 4), ("\ufdfa", 33), ("\ud800", 3), ("a\udfffé", 6), ("①", 3)],
)
def test_known_texts(text: str, tokens: int) -> None:
    """Ligatures count what they expand to, and lone surrogates do not crash."""
    assert text_tokens_max(text) == tokens


def test_composing_never_makes_a_text_longer() -> None:
    """What the bound of long runs rests on: a composed character is no longer than its parts."""
    for code in range(0x110000):
        char = chr(code)
        parts = unicodedata.normalize("NFD", char)
        if parts != char and unicodedata.normalize("NFC", parts) == char:
            assert utf8(char) <= utf8(parts), hex(code)


@settings(deadline=None)
@given(first=TEXT, second=TEXT)
def test_longer_texts_have_larger_bounds(first: str, second: str) -> None:
    """Text can be added or split into parts without the bound becoming smaller than a part's."""
    assert text_tokens_max(first + "\n" + second) >= text_tokens_max(first)
    assert text_tokens_max(first + "\n" + second) >= text_tokens_max(second)


@pytest.mark.parametrize(
    "text",
    ["a" + "\u0301\u0323" * 200_000, "\ufdfa" * 200_000, "漢字" * 200_000, "é" * 400_000],
    ids=["marks", "ligatures", "ideographs", "accents"],
)
def test_no_text_holds_a_worker(text: str) -> None:
    """Normalising sorts marks in quadratic time (minutes for this text); the bound stays linear."""
    start = time.process_time()
    assert text_tokens_max(text) >= utf8(text)
    assert time.process_time() - start < 2


@settings(deadline=None, max_examples=300)
@given(value=JSON)
def test_json_is_bounded_in_every_style(value: object) -> None:
    """Compact, spaced, escaped and HTML-safe forms of a schema all fit its bound."""
    compact = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    bound = json_tokens_max(compact)
    escaped = json.dumps(value)
    html_safe = escaped
    for char in "<>&'":
        html_safe = html_safe.replace(char, f"\\u{ord(char):04x}")
    assert bound >= text_tokens_max(json.dumps(value, ensure_ascii=False))
    assert bound >= len(escaped)
    assert bound >= len(html_safe)
    lines = json.dumps(value, indent=4, ensure_ascii=False).splitlines()
    assert bound >= sum(1 + text_tokens_max(line.strip()) for line in lines) - 1


def test_overheads_add_up() -> None:
    """Each message, text and tool adds its own overhead; tool framing counts once, with tools."""
    assert overhead_tokens(messages=0) == REQUEST_OVERHEAD_TOKENS
    assert overhead_tokens(messages=3) == REQUEST_OVERHEAD_TOKENS + 3 * MESSAGE_OVERHEAD_TOKENS
    plain = overhead_tokens(messages=1, framing_tokens=100, tool_framing_tokens=500)
    assert plain == overhead_tokens(messages=1) + 100
    tools = overhead_tokens(messages=1, tools=2, tool_framing_tokens=500)
    assert tools == overhead_tokens(messages=1, tools=2) + 500
    assert overhead_tokens(messages=1, texts=1, images=1) > overhead_tokens(messages=1)


def test_overheads_cover_openais_published_ones() -> None:
    """OpenAI's cookbook: 3 tokens per message, 1 per name, 3 for the answer; ours are not below."""
    for messages in range(1, 50):
        assert overhead_tokens(messages=messages) >= messages * (3 + 1) + 3
