"""The one door of the console: token, size, then the calls; every answer leaves by it.

It wraps the whole application, so that a new call cannot forget it. Nothing but the paths in OPEN
is reached without a token, and no body is read before there is one. A callback has its signature
instead: only who was sent an address knows it.
"""

import asyncio

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from console.auth import CALLER
from console.errors import (
    BodyTooLarge,
    BodyTooSlow,
    InvalidRequest,
    InvalidToken,
    NotFound,
    error_of,
)
from console.options import ConsoleOptions
from console.parts import Parts
from console.token_store import SECRET_CHARS_MAX, Token
from orchestrator.running import callbacks

CALLED = "comptroller.called"  # where the door puts the attempt that a callback is about
OPEN = frozenset({"/healthz", "/readyz", "/docs", "/openapi.json"})
_HOW = "send your admin token as `Authorization: Bearer <token>`"
# Answers are nobody's to cache, sniff, frame or run a script in.
_HEADERS = {
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "content-security-policy": (
        "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
    ),
}


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


class Door:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http":
            await self._http(scope, receive, _Answer(send))
        elif scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": "not served"})

    async def _http(self, scope: Scope, receive: Receive, answer: "_Answer") -> None:
        try:
            if scope["path"].startswith(callbacks.PATH):
                scope[CALLED] = self._called(scope)
                receive = await self._with_whole_body(scope, receive)
            elif scope["path"] not in OPEN:
                scope[CALLER] = await self._authenticated(scope)
                receive = await self._with_whole_body(scope, receive)
            await self._app(scope, receive, answer.send)
        except ClientGone:
            return
        except Exception as error:  # noqa: BLE001  # the last door: known ones told, others logged
            failure = error_of(error)
            if not answer.started:
                await failure.response()(scope, receive, answer.send)

    def _called(self, scope: Scope) -> callbacks.Called:
        known = self._parts.workflows.callbacks()
        called = None if known is None else known.called(scope["path"])
        if called is None:
            raise NotFound("there is no such callback: use the address as it was sent")
        return called

    async def _authenticated(self, scope: Scope) -> Token:
        token = await self._parts.tokens.find(_secret(scope))
        if token is None:
            raise InvalidToken(f"this admin token is unknown here: {_HOW}")
        if token.has_expired(self._parts.session.clock.now_ms()):
            raise InvalidToken("this admin token has expired: ask an admin for another")
        return token

    async def _with_whole_body(self, scope: Scope, receive: Receive) -> Receive:
        """The request with its body read, within its bounds."""
        options = self._parts.options
        bytes_max = _bytes_max(scope["path"], options)
        length = _header(scope, b"content-length")
        if length and (not length.isdigit() or len(length) > 18):
            raise InvalidRequest("Content-Length must be a number")
        if int(length or 0) > bytes_max:
            raise _too_large(bytes_max)
        try:
            async with asyncio.timeout(options.body_ms_max / 1000):
                body = await _read(receive, bytes_max)
        except TimeoutError:
            raise BodyTooSlow("the body did not come in time") from None
        waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return waiting.pop() if waiting else await receive()

        return replay


def is_open(path: str) -> bool:
    """Whether no admin token is needed there."""
    return path in OPEN or path.startswith(callbacks.PATH)


def _bytes_max(path: str, options: ConsoleOptions) -> int:
    if path.startswith(callbacks.PATH):
        return options.callback_bytes_max
    has_workflow = f"{path}/".startswith(("/v1/runs/", "/v1/schedules/"))
    return options.run_body_bytes_max if has_workflow else options.body_bytes_max


async def _read(receive: Receive, bytes_max: int) -> bytes:
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece: bytes = message.get("body", b"")
        size += len(piece)
        if size > bytes_max:
            raise _too_large(bytes_max)
        pieces.append(piece)
        more = message.get("more_body", False)
    return b"".join(pieces)


def _too_large(bytes_max: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {bytes_max} bytes, which is the most")


def _header(scope: Scope, name: bytes) -> bytes:
    """Its value; of a header that is there twice none, because two readers could differ."""
    found = [value for each, value in scope["headers"] if each == name]
    return found[0] if len(found) == 1 else b""


def _secret(scope: Scope) -> bytes:
    scheme, _, secret = _header(scope, b"authorization").partition(b" ")
    secret = secret.strip()
    if scheme.lower() != b"bearer" or not 1 <= len(secret) <= SECRET_CHARS_MAX:
        raise InvalidToken(_HOW)
    return secret


class _Answer:
    """What is sent, with the headers of every answer."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        """See the ASGI specification."""
        if message["type"] == "http.response.start":
            self.started = True
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)
