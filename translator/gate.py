"""The only way out of this process.

LiteLLM and the libraries that it uses make their own clients, in many places. So what they all end
in is replaced: httpx's transport, which asks the passage of the call that it serves. Whoever opens
a connection in another way (aiohttp, a request of LiteLLM's own in the background, a picture to be
fetched) is refused by Python's audit hook, which every `connect` goes through. That holds for
Python's own event loop, not for uvloop, which connects by itself.
"""

import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import httpx

from translator.answers import Answer
from translator.errors import Refused
from translator.passage import Passage

PASSAGE: ContextVar[Passage | None] = ContextVar("passage", default=None)
"""Of the call that the running task serves."""
_IS_OPEN: ContextVar[bool] = ContextVar("gate is open", default=False)

CREDENTIAL_HOSTS = re.compile(
    r"sts(\.[a-z0-9-]+)?\.amazonaws\.com(\.cn)?"
    r"|(oauth2|sts|iamcredentials)\.googleapis\.com"
    r"|metadata\.google\.internal|169\.254\.169\.254|169\.254\.170\.(2|23)",
    re.ASCII,
)
"""Where AWS's and Google's libraries turn an identity into a key that expires (STS, OAuth, metadata
of instances and containers): no prompt goes there, and nothing is billed."""


def close() -> None:
    """From now on nothing of this process connects but for a passage. Cannot be undone."""
    send = httpx.AsyncHTTPTransport.handle_async_request

    async def guarded(
        transport: httpx.AsyncHTTPTransport, request: httpx.Request
    ) -> httpx.Response:
        passage = PASSAGE.get()
        if passage is None:
            raise Refused("a request that belongs to no call")
        answer = passage.check(request.method, request.url, await request.aread())
        request.headers["accept-encoding"] = "identity"
        request.extensions = {**request.extensions, "trace": passage.traced}
        try:
            with _opened():
                response = await send(transport, request)
        except Exception as error:
            if not passage.sent:
                passage.unreached = error
            raise
        passage.answer = answer
        return _read_along(response, answer)

    httpx.AsyncHTTPTransport.handle_async_request = guarded  # type: ignore[method-assign, assignment]  # the gate
    _let_credentials_through()
    sys.addaudithook(_audit)


@contextmanager
def _opened() -> Iterator[None]:
    token = _IS_OPEN.set(True)
    try:
        yield
    finally:
        _IS_OPEN.reset(token)


def _audit(event: str, _arguments: tuple[Any, ...]) -> None:
    if event != "socket.connect" or _IS_OPEN.get():
        return
    passage = PASSAGE.get()
    message = "LiteLLM would connect to something beside the provider"
    raise Refused(message) if passage is None else passage.refuse(message)


def _let_credentials_through() -> None:
    """Both libraries use urllib3, which connects here."""
    from urllib3.util import connection  # noqa: PLC0415  # comes with LiteLLM

    connect = connection.create_connection

    def create_connection(address: tuple[str, int], *more: Any, **named: Any) -> Any:  # noqa: ANN401  # urllib3's
        if CREDENTIAL_HOSTS.fullmatch(address[0]) is None:
            return connect(address, *more, **named)
        with _opened():
            return connect(address, *more, **named)

    connection.create_connection = create_connection


def _read_along(response: httpx.Response, answer: Answer) -> httpx.Response:
    answer.begin(response.status_code, response.headers)
    stream = response.stream
    assert isinstance(stream, httpx.AsyncByteStream)
    return httpx.Response(
        response.status_code,
        headers=response.headers,
        stream=_ReadAlong(stream, answer),
        extensions=response.extensions,
    )


class _ReadAlong(httpx.AsyncByteStream):
    """The body of an answer, which `answer` is told of."""

    def __init__(self, stream: httpx.AsyncByteStream, answer: Answer) -> None:
        self._stream = stream
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._stream:
            self._answer.feed(chunk)
            yield chunk
        self._answer.end()

    async def aclose(self) -> None:
        """See httpx.AsyncByteStream."""
        await self._stream.aclose()
