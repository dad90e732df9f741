"""Whether one list of shell patterns allows no more than another.

What cannot be shown to be narrower is refused, so this may say no too often and never yes too
often: a pattern is within another where each of its parts can be taken up by one of the other's,
in order. Parts are single characters, `?`, sets as in `[a-z]`, and `*`, which takes up anything.
"""

from fnmatch import fnmatchcase

_ANY_ONE, _ANY = "?", "*"


def within(narrower: tuple[str, ...], wider: tuple[str, ...]) -> str | None:
    """The first pattern that is not shown to be within one of the others, None where all are. An
    empty list of `wider` ones allows everything."""
    if not wider:
        return None
    parts = [_parts(each) for each in wider]
    for pattern in narrower:
        own = _parts(pattern)
        if pattern not in wider and not any(_takes_up(each, own) for each in parts):
            return pattern
    return None


def _parts(pattern: str) -> list[str]:
    """As fnmatch reads it: a `[` without its end is a character, and so is anything in a set."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        end = at + 1
        if pattern[at] == "[":
            close = end + 1 if pattern[end : end + 1] == "!" else end
            close = pattern.find("]", close + 1)
            if close >= 0:
                end = close + 1
        part = pattern[at:end] if end > at + 1 or pattern[at] != "[" else "[[]"
        if part != _ANY or parts[-1:] != [_ANY]:
            parts.append(part)
        at = end
    return parts


def _takes_up(wider: list[str], narrower: list[str]) -> bool:
    """The usual matching of wildcards, with parts in place of characters. Giving each run between
    two `*` its first place is enough: the `*` behind it takes up whatever is left."""
    at = star = -1
    w = n = 0
    while n < len(narrower):
        if w < len(wider) and wider[w] == _ANY:
            star, at = w, n
            w += 1
        elif w < len(wider) and _takes_up_one(wider[w], narrower[n]):
            w, n = w + 1, n + 1
        elif star >= 0:
            at += 1
            w, n = star + 1, at
        else:
            return False
    return all(each == _ANY for each in wider[w:])


def _takes_up_one(wider: str, narrower: str) -> bool:
    """Whether all that the one part stands for is among what the other does, a character each."""
    if narrower == _ANY:
        return False
    if wider in (_ANY_ONE, narrower):
        return True
    is_character = len(narrower) == 1 and narrower != _ANY_ONE
    return is_character and len(wider) > 1 and fnmatchcase(narrower, wider)
