"""How many tokens a text really is, for models whose tokenizer is published.

The byte bound costs nothing and is four times too high for English. Where it makes a budget refuse,
the texts are counted instead. A count is only used as a bound, so whatever is not known about how a
provider writes its prompt (JSON in another style, marks around texts) is added as it is to the byte
bound, and the smaller of both bounds holds. Models whose tokenizer is not known keep the byte
bound.

Per family, beside the texts: `pricing.bound` adds 64 tokens to a request, 8 to a message, 2 to a
text and 24 to a tool, where OpenAI's cookbook ("How to count tokens with tiktoken") has 3, 3, 1
(for a name) and 19 to 22. gpt-oss, which others serve, has a system message of its own in front:
see below.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from pricing.bound import JSON_ESCAPE_BYTES_MAX, json_style_tokens, text_tokens_max
from pricing.families import bare_name

COUNTED_BYTES_MAX = 2 * 1024 * 1024
"""Longer inputs keep their byte bound: the slowest texts take half a microsecond per byte."""

GPT_OSS_FRAMING_TOKENS = 192
"""The harmony format's system message (identity, dates, effort, channels: about 70 tokens), its
developer message and the namespace of tools (OpenAI, "Harmony response format")."""

SPECIALS_MAX = 1_000
"""Texts that look like more special tokens than this keep their byte bound: each is a piece of its
own to the tokenizer."""

_SPECIAL = "<|"
_SPECIAL_TOKENS_MAX = 4
_ID_BYTES = 4
# A word that has to be put together from pieces: for the first one a tokenizer makes its table of
# pieces, a tenth of a second in which no other Python should wait.
_WORD_IN_PIECES = "qzxjkvwq"
# From this length on it is worth the handing over to let other threads run: a letter that is
# repeated as often takes two milliseconds.
_ALONE_CHARS = 4_096

# tiktoken's model.py, as of October 2026: every gpt-5 among them. Models that search by themselves
# are not here: they read what nobody has seen.
_O200K = re.compile(
    r"gpt-4o(?:-mini)?|chatgpt-4o-latest|gpt-4\.1(?:-mini|-nano)?|gpt-4\.5-preview"
    r"|o1(?:-mini|-preview|-pro)?|o3(?:-mini|-pro)?|o4-mini"
    r"|gpt-5(?:\.[0-9])?(?:-(?:mini|nano|pro|chat-latest|codex(?:-mini|-max)?|sol|terra|luna))?",
    re.ASCII,
)
_CL100K = re.compile(
    r"gpt-4(?:-32k|-turbo|-turbo-preview)?|gpt-3\.5-turbo(?:-16k|-instruct)?"
    r"|(?:davinci|babbage)-002|text-embedding-(?:ada-002|3-(?:small|large))",
    re.ASCII,
)
_GPT_OSS = re.compile(r"gpt-oss-(?:20b|120b)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Family:
    """How a family's texts become tokens. `framing_tokens`: what it adds to each request."""

    encoding: str
    framing_tokens: int = 0


class Encoding(Protocol):
    """What a tokenizer has to be able to do. Ids come as four bytes each."""

    def encode_flat(self, text: str) -> bytes:
        """The ids of a text. No other Python runs meanwhile."""
        ...

    def encode_batch_flat(self, texts: list[str]) -> tuple[bytes, bytes]:
        """The ids of all texts, and where each text's begin. Other threads run meanwhile; of
        several texts each may have a core."""
        ...


def family_of(provider: str, model: str) -> Family | None:
    """The family of a model; None where its tokenizer is not known."""
    name = bare_name(provider, model)
    if _O200K.fullmatch(name):
        return Family("o200k_base")
    if _CL100K.fullmatch(name):
        return Family("cl100k_base")
    if _GPT_OSS.fullmatch(name):
        return Family("o200k_base", GPT_OSS_FRAMING_TOKENS)
    return None


class Texts:
    """Collects the texts of a request to count them together. A measure, see pricing.bound: its
    methods give what to add beside the count."""

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def text(self, text: str) -> int:
        """A text as it is. What looks like a special token is one to the tokenizer and several to a
        provider that does not trust its caller: it is cut in two there."""
        specials = text.count(_SPECIAL)
        if specials > SPECIALS_MAX or not _encodable(text):
            return text_tokens_max(text)
        self.pieces += text.split(_SPECIAL)
        return specials * _SPECIAL_TOKENS_MAX

    def json(self, text: str) -> int:
        """JSON that a provider may write in another style: escaped, indented, as declarations."""
        escapes = 2 * text.count("\\")
        other_bytes = 0
        if not text.isascii():
            total = len(text.encode("utf-8", "surrogatepass"))
            other_bytes = total - len(text.encode("ascii", "ignore"))
        style = json_style_tokens(text) + escapes + JSON_ESCAPE_BYTES_MAX * other_bytes
        return self.text(text) + style


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # lone surrogates
        return False
    return True


class Tokenizers:
    """The tokenizers that were needed, each loaded once (70 ms and 35 MB). May be used from any one
    thread at a time."""

    def __init__(self) -> None:
        self._loaded: dict[str, Encoding] = {}

    def count(self, encoding: str, texts: Iterable[str]) -> int:
        """Tokens of all texts together. They have no lone surrogates and no `<|`."""
        tokenizer = self._loaded.get(encoding)
        if tokenizer is None:
            tokenizer = self._loaded[encoding] = _loaded(encoding)
        size = 0
        for text in texts:
            if len(text) < _ALONE_CHARS:
                size += len(tokenizer.encode_flat(text))
            else:
                size += len(tokenizer.encode_batch_flat([text])[0])
        return size // _ID_BYTES


def _loaded(encoding: str) -> Encoding:
    from splintr import Tokenizer  # noqa: PLC0415  # 35 MB, for those who need it

    tokenizer: Encoding = Tokenizer.from_pretrained(encoding)
    tokenizer.encode_batch_flat([_WORD_IN_PIECES])
    return tokenizer
