"""ClickHouse's SQL as tokens, after the engine has written a query down in its own way.

The engine parses and formats what a user sent (`formatQuerySingleLine`): comments, odd spacing and
exotic quoting are gone, and only then is it looked at. Its tree does not show everything (PREWHERE,
INTO OUTFILE, names of WITH), so those are found here. Pure.
"""

import itertools
import re
from dataclasses import dataclass
from enum import Enum

_TOKEN = re.compile(
    r"""\s+
    |(?P<string>'(?:[^'\\]|\\.|'')*')
    |(?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    |(?P<number>\d[\w.]*)
    |(?P<word>[A-Za-z_@$][\w@$]*)
    |(?P<sign>.)
    """,
    re.VERBOSE | re.DOTALL,
)


class Kind(Enum):
    """What a token is. `quoted` is an identifier in backquotes or double quotes."""

    STRING = "string"
    QUOTED = "quoted"
    NUMBER = "number"
    WORD = "word"
    SIGN = "sign"


@dataclass(frozen=True, slots=True)
class Token:
    """`text` is as written, quotes included."""

    kind: Kind
    text: str

    def is_word(self, *words: str) -> bool:
        """An unquoted word, in any case."""
        return self.kind is Kind.WORD and self.text.upper() in words

    def is_sign(self, sign: str) -> bool:
        """One character that is neither word nor quote."""
        return self.kind is Kind.SIGN and self.text == sign

    @property
    def name(self) -> str:
        """The identifier that it is, "" if it is none."""
        if self.kind is Kind.WORD:
            return self.text
        return self.text[1:-1] if self.kind is Kind.QUOTED else ""


def tokens(text: str) -> list[Token]:
    """All but white space. An unclosed quote becomes signs, which whoever reads them refuses."""
    return [
        Token(Kind(match.lastgroup), match[0])
        for match in _TOKEN.finditer(text)
        if match.lastgroup is not None
    ]


def without_format(text: str, words: list[Token]) -> tuple[str, str]:
    """The query without its last clause `FORMAT name`, and that name ("" without one)."""
    if len(words) > 2 and words[-2].is_word("FORMAT") and words[-1].kind is Kind.WORD:
        name = words[-1].text
        head = text.rstrip()[: -len(name)].rstrip()
        return head[: -len("FORMAT")].rstrip(), name
    return text, ""


def defined_names(words: list[Token]) -> set[str]:
    """Names that stand before `AS (`: those of WITH (and of windows)."""
    return {
        name.name
        for name, middle, bracket in zip(words, words[1:], words[2:], strict=False)
        if name.name and middle.is_word("AS") and bracket.is_sign("(")
    }


def called_names(words: list[Token]) -> set[str]:
    """Names directly before a bracket, but not inside a parameter's type `{name:Array(String)}`,
    nor those of a table's new names `AS t(a, b)`."""
    found = set()
    depth = 0
    after_as = False
    for token, following in itertools.pairwise(words):
        depth += token.is_sign("{") - token.is_sign("}")
        if depth == 0 and token.name and following.is_sign("(") and not after_as:
            found.add(token.name)
        after_as = token.is_word("AS")
    return found
