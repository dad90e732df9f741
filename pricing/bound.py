"""How many tokens a text can be at most, without a tokenizer.

A byte-level tokenizer never makes more tokens than there are bytes, so bytes bound tokens for every
model, known or not, at the cost of counting characters. Some tokenizers normalise (NFKC) before
they split, which can make a text longer: one character of three bytes becomes 33. The bound is the
larger of both lengths. What surrounds the texts (roles, delimiters, templates) is bounded by the
constants here.
"""

import re
import unicodedata
from typing import Protocol

REQUEST_OVERHEAD_TOKENS = 64
"""Once per request: the primed answer (3 tokens in OpenAI's cookbook, "How to count tokens with
tiktoken"), begin-of-text, and the default system line of open models' chat templates (Llama 3's
dates, Qwen's name, about 25)."""

MESSAGE_OVERHEAD_TOKENS = 8
"""Per message: OpenAI's cookbook has 3, and 1 more for a name; chat templates of open models have
start and end marks, a role and line breaks, up to 6. Names and roles' texts are counted apart."""

TEXT_OVERHEAD_TOKENS = 2
"""Per text part: SentencePiece puts a space before each text, which is a token when the first
character is not in its vocabulary; templates put a line break between parts."""

TOOL_OVERHEAD_TOKENS = 24
"""Per tool, beside its JSON: the cookbook has 7 to 10 to open a function, 3 per property and 12 at
the end; the properties are covered by the quotes and braces of their JSON."""

IMAGE_OVERHEAD_TOKENS = 4
"""Per image, audio or file part, beside what its content costs: the marks around it."""

RUN_CHARS_MAX = 64
"""Longest run of non-ASCII characters that is normalised in one piece: normalising sorts combining
marks in quadratic time, and 64,000 of them (a body of 128 KB) would hold a worker for seconds."""

JSON_ESCAPE_BYTES_MAX = 3
"""Bytes of the escape of a character that is not ASCII, per byte of its own: 6 for 2 or 3 bytes, 12
for 4."""

_LONG_RUN = re.compile(rf"[^\x00-\x7f]{{{RUN_CHARS_MAX + 1},}}")
_ESCAPED_ASCII = "<>&'\x7f"
_BRACKETS = "{}[],"


def text_tokens_max(text: str) -> int:
    """The most tokens that `text` can be: the larger of its UTF-8 length and that of its NFKC form.

    Lone surrogates (JSON allows them) count 3 bytes, as the replacement character does. Linear in
    the length of the text, whatever it is.
    """
    if text.isascii():
        return len(text)
    return max(_utf8_bytes(text), _nfkc_bytes_max(text))


def json_tokens_max(text: str) -> int:
    """The most tokens that JSON `text` (a tool's schema) can be after a provider wrote it anew.

    Providers parse tools and put them into the prompt in their own style: chat templates of open
    models indent them, and escape what is not ASCII (6 bytes for 2 or 3, 12 for 4), DEL and what
    has a meaning in HTML (6 bytes for 1). A line break with its indent is counted as two tokens.
    """
    style = json_style_tokens(text)
    if text.isascii():
        return len(text) + style
    ascii_bytes = len(text.encode("ascii", "ignore"))
    other_bytes = _utf8_bytes(text) - ascii_bytes
    escaped = ascii_bytes + JSON_ESCAPE_BYTES_MAX * other_bytes
    return max(text_tokens_max(text), escaped) + style


def json_style_tokens(text: str) -> int:
    """What another style can add to JSON `text`, beside escapes of what is not ASCII."""
    spaced = 2 * sum(map(text.count, _BRACKETS)) + text.count(":")
    return spaced + 5 * sum(map(text.count, _ESCAPED_ASCII))


class Measure(Protocol):
    """How the texts of a request are measured, in tokens."""

    def text(self, text: str) -> int:
        """A text that is in the prompt as it is."""
        ...

    def json(self, text: str) -> int:
        """JSON that the provider writes into the prompt in a style of its own."""
        ...


class ByteMeasure:
    """The bound that holds for every tokenizer."""

    text = staticmethod(text_tokens_max)
    json = staticmethod(json_tokens_max)


def overhead_tokens(
    *,
    messages: int,
    texts: int = 0,
    tools: int = 0,
    images: int = 0,
    framing_tokens: int = 0,
    tool_framing_tokens: int = 0,
) -> int:
    """Input tokens of a request beside its texts.

    `messages`, `texts`, `tools`, `images`: how many there are. `framing_tokens` and
    `tool_framing_tokens`: the price's fields of these names.
    """
    return (
        REQUEST_OVERHEAD_TOKENS
        + framing_tokens
        + (tool_framing_tokens if tools else 0)
        + messages * MESSAGE_OVERHEAD_TOKENS
        + texts * TEXT_OVERHEAD_TOKENS
        + tools * TOOL_OVERHEAD_TOKENS
        + images * IMAGE_OVERHEAD_TOKENS
    )


def _utf8_bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _nfkc_bytes_max(text: str) -> int:
    """At least the UTF-8 length of the NFKC form.

    Long runs are decomposed piece by piece (NFKD): decomposition works on single characters, and
    composing afterwards never makes a text longer, so the sum of the pieces is not too small. An
    ASCII character never changes nor joins what is before it, so that the rest can be normalised
    as if the runs were not there.
    """
    runs = _LONG_RUN.findall(text)
    rest = _LONG_RUN.sub("", text) if runs else text
    return _utf8_bytes(unicodedata.normalize("NFKC", rest)) + sum(map(_nfkd_bytes, runs))


def _nfkd_bytes(run: str) -> int:
    pieces = (run[at : at + RUN_CHARS_MAX] for at in range(0, len(run), RUN_CHARS_MAX))
    return sum(_utf8_bytes(unicodedata.normalize("NFKD", piece)) for piece in pieces)
