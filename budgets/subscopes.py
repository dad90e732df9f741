"""Where a key with `subscopes` lets its requests say below which child of its scope they count.

`true` takes the first of `ANY` that a request has; a list takes each of its own that the request
has, one below the other. `x-comptroller-scope` says the whole path itself, and comes first.
"""

import re
from hashlib import sha256

from budgets.policy import SEGMENT_BYTES_MAX

ANY = ("session", "user", "tag")
PROPERTY = "property:"
SOURCES_MAX = 4
KEY_PREFIX = "key-"
_PROPERTY_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FOREIGN = re.compile(r"[^A-Za-z0-9._@:+=~-]+")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+=~-]*")
_DIGEST_CHARS = 16
_WORDS = (
    f"subscopes is true, or a list of at most {SOURCES_MAX} of {', '.join(ANY)} and "
    f"{PROPERTY}<name>, the outermost first"
)


class SubscopesInvalid(ValueError):
    """What was said of `subscopes` has no meaning; the message says what has."""


def parse_sources(value: object) -> tuple[str, ...]:
    """The sources of a key, empty where its requests name no scopes; `("any",)` for `true`. Raises
    SubscopesInvalid."""
    if value is None or value is False:
        return ()
    if value is True:
        return ("any",)
    if not isinstance(value, list | tuple) or not 1 <= len(value) <= SOURCES_MAX:
        raise SubscopesInvalid(_WORDS)
    sources = tuple(each.casefold() if isinstance(each, str) else "" for each in value)
    for each in sources:
        name = each.removeprefix(PROPERTY)
        if each not in ANY and (name == each or not _PROPERTY_NAME.fullmatch(name)):
            raise SubscopesInvalid(_WORDS)
    if len(set(sources)) < len(sources):
        raise SubscopesInvalid("subscopes names a source twice: leave one out")
    return sources


def shown_sources(sources: tuple[str, ...]) -> bool | list[str]:
    """The same as users write it."""
    if sources in ((), ("any",)):
        return bool(sources)
    return list(sources)


def segment_of(value: str) -> str:
    """A scope segment for what somebody else calls a session or a user: the same name where it can
    be one, else its readable part and a digest, so that two names never share a budget."""
    if _PLAIN.fullmatch(value) and len(value) <= SEGMENT_BYTES_MAX and not is_of_keys(value):
        return value
    digest = sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARS]
    readable = _FOREIGN.sub("-", value).lstrip("._@:+=~-").removeprefix(KEY_PREFIX)
    readable = readable[: SEGMENT_BYTES_MAX - _DIGEST_CHARS - 2].strip("-")
    return f"{readable or 'id'}~{digest}"


def is_of_keys(segment: str) -> bool:
    """Whether it may be a key's own scope, which is not for others to count at."""
    return segment.casefold().startswith(KEY_PREFIX)
