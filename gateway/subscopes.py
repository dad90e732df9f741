"""A request of a key with `subscopes` says where below the key's scope it counts.

So there is a budget for each run of anybody's orchestrator and each end user of anybody's product,
from the `per_child` template of the key's scope. Everything above the child holds as it does
anyway: to name one can only add limits. Who sends sessions, users, tags or properties to Helicone
or LiteLLM has nothing to change (their documentation, "Header Directory" and "Request Headers");
Claude Code names its session by itself.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from budgets.keys import Key
from budgets.plan import ScopePath
from budgets.policy import PolicyInvalid, parse_scope
from budgets.subscopes import ANY, PROPERTY, is_of_keys, segment_of
from gateway.dialects.contract import Call
from gateway.errors import InvalidRequest, NotAllowed
from gateway.request import Request

HEADER = b"x-comptroller-scope"
VALUE_BYTES_MAX = 1024
_PROPERTY_HEADER = "helicone-property-"
_HEADERS: Mapping[str, tuple[bytes, ...]] = MappingProxyType(
    {
        "session": (
            *(b"helicone-session-id", b"x-litellm-session-id", b"x-litellm-trace-id"),
            b"x-claude-code-session-id",
        ),
        "user": (b"helicone-user-id", b"x-litellm-customer-id", b"x-litellm-end-user-id"),
        "tag": (b"x-litellm-tags",),
    }
)


class _Metadata(msgspec.Struct):
    user_id: str | None = None


_metadata = msgspec.json.Decoder(_Metadata)
_text = msgspec.json.Decoder(str)


def counting_at(request: Request, key: Key, path: ScopePath, call: Call | None) -> ScopePath:
    """The path of this request; `call` where it has a body that may name its user. Raises
    InvalidRequest, NotAllowed."""
    said = request.headers.get(HEADER)
    if not key.subscopes:
        if said is not None:
            raise NotAllowed(
                f"key {key.name} may not name a scope: leave x-comptroller-scope out, or mint a "
                "key with `comptroller key create --subscopes`"
            )
        return path
    if said is not None:
        return dataclasses.replace(path, scope=_said(said, key.scope))
    scope = "/".join((key.scope, *_found(request, key.subscopes, call)))
    return path if scope == key.scope else dataclasses.replace(path, scope=_checked(scope))


def _said(value: bytes, scope: str) -> str:
    """The scope at this path below the key's, as it was written."""
    named = value.decode("latin-1")
    if any(map(is_of_keys, named.split("/"))):
        raise InvalidRequest("x-comptroller-scope: segments that begin with key- are keys' own")
    return _checked(f"{scope}/{named}")


def _checked(scope: str) -> str:
    try:
        parse_scope(scope)
    except PolicyInvalid as error:
        raise InvalidRequest(f"the scope that the request names: {error}") from None
    return scope


def _found(request: Request, sources: tuple[str, ...], call: Call | None) -> tuple[str, ...]:
    is_any = sources == ("any",)
    values = (_value(request, source, call) for source in (ANY if is_any else sources))
    found = tuple(segment_of(value) for value in values if value)
    return found[:1] if is_any else found


def _value(request: Request, source: str, call: Call | None) -> str:
    """What the request has of a source, empty where it has nothing."""
    names = _HEADERS.get(source)
    if names is None:
        names = ((_PROPERTY_HEADER + source.removeprefix(PROPERTY)).encode(),)
    for name in names:
        value = request.headers.get(name, b"").strip()
        if len(value) > VALUE_BYTES_MAX:
            raise InvalidRequest(f"{name.decode()} is longer than {VALUE_BYTES_MAX} bytes")
        if source == "tag":
            value = value.split(b",", 1)[0].strip()
        if value:
            return value.decode("utf-8", "backslashreplace")
    return _user(call) if source == "user" and call is not None else ""


def _user(call: Call) -> str:
    """As OpenAI's API names an end user (`safety_identifier`, before it `user`), or Anthropic's
    (`metadata.user_id`): the first of them that names one. What is empty, null or of another type
    names nobody, and is for the provider to refuse."""
    for name in ("safety_identifier", "user"):
        if name in call.fields:
            with contextlib.suppress(msgspec.DecodeError):
                if user := _bounded(name, _text.decode(call.fields[name])):
                    return user
    if "metadata" in call.fields:
        with contextlib.suppress(msgspec.DecodeError):
            return _bounded("user_id", _metadata.decode(call.fields["metadata"]).user_id or "")
    return ""


def _bounded(name: str, value: str) -> str:
    if len(value) > VALUE_BYTES_MAX:
        raise InvalidRequest(f"{name} is longer than {VALUE_BYTES_MAX} characters", param=name)
    return value.strip()
