"""What every body and every query string has in common: no field is ignored, none is read twice,
numbers are exact."""

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from difflib import get_close_matches
from typing import Any, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from budgets.duration import duration_ms
from console.errors import InvalidRequest

NAME_CHARS_SHOWN = 64
SCOPE_CHARS_MAX = 16 * 65
CURSOR_CHARS_MAX = 2_048
PAGE_MAX = 1_000
PAGE_DEFAULT = 100


def nearest(name: str, known: list[str]) -> str:
    """`unknown field x; did you mean y?`, or what there is."""
    close = get_close_matches(name, known, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
    return f"unknown field {name[:NAME_CHARS_SHOWN]!r}; {hint}"


class Asked(BaseModel):
    """A query string."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _know_all_fields(cls, fields: object) -> object:
        known = list(cls.model_fields)
        if isinstance(fields, dict):
            for name in fields:
                if name not in known:
                    shown = str(name)[:NAME_CHARS_SHOWN]
                    raise PydanticCustomError(
                        "unknown_field", "{what}", {"what": nearest(shown, known), "name": shown}
                    )
        return fields


class Wanted(Asked):
    """A JSON body: a number is not a text, nor the other way round."""

    model_config = ConfigDict(strict=True)


class Shown(BaseModel):
    """An answer."""


def milliseconds(text: str | None, param: str) -> int | None:
    """A duration as in 30d; None for None. Raises InvalidRequest."""
    if text is None:
        return None
    found = duration_ms(text)
    if found is None:
        raise InvalidRequest(
            f"{param} is a duration, as in 30d, 12h, 10m or 45s, up to 36500d", param=param
        )
    return found


def lifetime_ms(text: str | None) -> int | None:
    """How long a key or token lives, None for ever. Raises InvalidRequest."""
    found = milliseconds(text, "expires_in")
    if found == 0:
        raise InvalidRequest("expires_in is more than nothing", param="expires_in")
    return found


class ExactRoute(APIRoute):
    """Reads bodies without floats, and without fields that are there twice."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See fastapi.routing.APIRoute."""
        handle = super().get_route_handler()

        async def exact(request: Request) -> Response:
            _check_once(request)
            return await handle(_ExactRequest(request.scope, request.receive))

        return exact


class _ExactRequest(Request):
    async def json(self) -> Any:  # noqa: ANN401  # as the framework has it
        """See starlette.requests.Request; raises JSONDecodeError."""
        body = await self.body()
        document = json.loads(
            body, parse_float=Decimal, parse_constant=_refused, object_pairs_hook=_unique
        )
        if b"\\u" in body:
            _check_whole(document)
        return document


def _check_once(request: Request) -> None:
    """Of a field that is there twice one would be read and the other not."""
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        if name in seen:
            shown = name[:NAME_CHARS_SHOWN]
            raise InvalidRequest(f"the field {shown!r} is there twice", param=shown)
        seen.add(name)


def _check_whole(document: object) -> None:
    """JSON can spell half of a character, which no text of ours can hold."""
    try:
        json.dumps(document, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        raise json.JSONDecodeError("a text holds half of a character", "", 0) from None


def _refused(constant: str) -> NoReturn:
    raise json.JSONDecodeError(f"{constant} is not JSON", "", 0)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise json.JSONDecodeError("a field is there twice", "", 0)
    return fields
