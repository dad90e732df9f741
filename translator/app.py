"""What the gateway talks to: OpenAI's chat completions on a private socket, as plain ASGI.

Whether an answer is whole, and what was used, is said by the provider's own bytes. A stream that
cannot be shown to be whole is broken off, so that the gateway sees it as what it is.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

import msgspec

from translator.asked import Asked, read
from translator.deployment import Deployment
from translator.errors import Refused
from translator.gate import PASSAGE
from translator.hop import DEPLOYMENT_HEADER, TARGET
from translator.outcome import Headers, Outcome, outcome_of, refused
from translator.passage import Passage
from translator.usage import usage_object

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Origins = Callable[[Deployment], Awaitable[frozenset[str]]]
"""Where the requests of a deployment may go. Raises Refused where that is not known now."""
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_JSON: Headers = [(b"content-type", b"application/json")]
_EVENT_STREAM: Headers = [(b"content-type", b"text/event-stream")]
_OUTSIDE = ("provider_specific_fields", "service_tier", "usage")
_log = logging.getLogger("comptroller.translator")


class Translates(Protocol):
    """See `translator.engine.Engine`."""

    async def answer(self, deployment: Deployment, asked: Asked) -> dict[str, Any]:
        """A whole answer."""
        ...

    def stream(self, deployment: Deployment, asked: Asked) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed one."""
        ...


class TranslatorApp:
    """Serves every entry of model_list that LiteLLM speaks for."""

    def __init__(
        self, deployments: Mapping[str, Deployment], engine: Translates, origins: Origins
    ) -> None:
        self._deployments = deployments
        self._engine = engine
        self._origins = origins

    def also_serves(self, deployments: Mapping[str, Deployment]) -> None:
        """More of them. Those from before stay: requests that began with them may still come."""
        self._deployments = {**self._deployments, **deployments}

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """See ASGI."""
        body = await _body(receive)
        if body is None:
            return
        named = dict(scope["headers"]).get(DEPLOYMENT_HEADER, b"").decode("latin-1")
        deployment = self._deployments.get(named)
        if scope["raw_path"] != TARGET or deployment is None:
            message = "this model is not known here: the configuration was changed, restart it"
            await _respond(send, refused(message))
            return
        answering = asyncio.create_task(self._answer(deployment, body, send))
        leaving = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            answering.cancel()
            leaving.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering

    async def _answer(self, deployment: Deployment, body: bytes, send: Send) -> None:
        try:
            asked = read(body)
            origins = await self._origins(deployment)
        except Refused as error:
            await _respond(send, refused(error.message, error.param))
            return
        passage = Passage(asked, deployment.label, origins)
        PASSAGE.set(passage)
        try:
            if asked.stream:
                await self._stream(deployment, passage, send)
            else:
                await self._whole(deployment, passage, send)
        except _FailedError as failed:
            outcome = outcome_of(passage, deployment, failed.error)
            _log.warning("%s: %s (%s)", passage.name, outcome.kind, type(failed.error).__name__)
            await _respond(send, outcome)

    async def _whole(self, deployment: Deployment, passage: Passage, send: Send) -> None:
        try:
            answer = await self._engine.answer(deployment, passage.asked)
        except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises
            raise _FailedError(error) from None
        if not _is_whole(passage):
            raise _FailedError(None)
        answer = {name: each for name, each in answer.items() if name not in _OUTSIDE}
        usage = _usage(deployment, passage)
        if usage is not None:
            answer["usage"] = usage
        await _respond(send, Outcome("answer", 200, _JSON, msgspec.json.encode(answer)))

    async def _stream(self, deployment: Deployment, passage: Passage, send: Send) -> None:
        """LiteLLM sends a request when its first chunk is asked for: the head waits for that."""
        chunks = aiter(self._engine.stream(deployment, passage.asked))
        first = await _next(chunks)
        if first is None:
            raise _FailedError(None)
        await send({"type": "http.response.start", "status": 200, "headers": _EVENT_STREAM})
        chunk: dict[str, Any] | None = first
        try:
            while chunk is not None:
                if chunk.get("choices"):  # else it is usage, which is not LiteLLM's to tell
                    await _send_event(send, _told(chunk))
                chunk = await _next(chunks)
        except _FailedError as failed:
            _log.warning("%s: a stream broke off (%s)", passage.name, type(failed.error).__name__)
            return
        if not _is_whole(passage):
            _log.warning("%s: a stream ended before its end", passage.name)
            return
        usage = _usage(deployment, passage)
        if usage is not None:
            await _send_event(send, {**_told(first), "choices": [], "usage": usage})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})


class _FailedError(Exception):
    """LiteLLM gave no whole answer; `error` is what it raised, if it did."""

    def __init__(self, error: Exception | None) -> None:
        super().__init__()
        self.error = error


async def _next(chunks: AsyncIterator[dict[str, Any]]) -> dict[str, Any] | None:
    try:
        return await anext(chunks, None)
    except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises
        raise _FailedError(error) from None


def _is_whole(passage: Passage) -> bool:
    answer = passage.answer
    if answer is None or answer.status != 200:
        return False
    answer.flush()
    return answer.complete


def _usage(deployment: Deployment, passage: Passage) -> dict[str, Any] | None:
    answer = passage.answer
    assert answer is not None
    return usage_object(deployment.provider, answer.usage, answer.shape.api)


def _told(chunk: dict[str, Any]) -> dict[str, Any]:
    return {name: each for name, each in chunk.items() if name not in _OUTSIDE}


async def _send_event(send: Send, event: dict[str, Any]) -> None:
    body = b"data: %b\n\n" % msgspec.json.encode(event)
    await send({"type": "http.response.body", "body": body, "more_body": True})


async def _respond(send: Send, outcome: Outcome) -> None:
    headers = [*outcome.headers, (b"content-length", b"%d" % len(outcome.body))]
    await send({"type": "http.response.start", "status": outcome.status, "headers": headers})
    await send({"type": "http.response.body", "body": outcome.body})


async def _body(receive: Receive) -> bytes | None:
    """None where the gateway hung up. It has bounded the body."""
    pieces = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
