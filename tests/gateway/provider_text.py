"""What the scripted provider has at embeddings and legacy completions: routes, and good answers in
odd spellings."""

import base64
import dataclasses
import json
import struct
from typing import Any

from gateway.routes import Route
from gateway.upstream import Origin, Upstream
from tests.gateway.behaviours import DONE, usage_text
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD, fake_route
from tests.gateway.provider import Behaviour, Received, Reply
from tests.gateway.stack import Stack

EMBEDDINGS, COMPLETIONS = "/v1/embeddings", "/v1/completions"
EMBEDDING_USAGE = b'{ "prompt_tokens" : 11,"total_tokens":11 }'
EMBEDDED_NUSD = 11 * INPUT_NUSD
COMPLETED_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD
TEXTS = ("Once", " upon", ' "usage": {', " a time\u2603")


def text_routes(origin: Origin, upstream: Upstream) -> list[Route]:
    """`embed` and `complete`; `known` at both has a tokenizer that is published; `thin` takes a
    window of 64 tokens."""
    return [
        _at(EMBEDDINGS, fake_route("embed", origin, upstream)),
        _at(EMBEDDINGS, fake_route("known", origin, upstream, model="text-embedding-3-small")),
        _thin(_at(EMBEDDINGS, fake_route("thin", origin, upstream))),
        _at(COMPLETIONS, fake_route("complete", origin, upstream)),
        _at(COMPLETIONS, fake_route("known", origin, upstream, model="davinci-002")),
        _thin(_at(COMPLETIONS, fake_route("thin", origin, upstream))),
    ]


def _at(endpoint: str, route: Route) -> Route:
    target = b"/base" + endpoint.encode()
    cap_field = "" if endpoint == EMBEDDINGS else route.cap_field
    return dataclasses.replace(route, endpoint=endpoint, target=target, cap_field=cap_field)


def _thin(route: Route) -> Route:
    return dataclasses.replace(
        route, price=dataclasses.replace(route.price, max_input_tokens=64, max_output_tokens=64)
    )


def inputs_of(document: dict[str, Any], name: str) -> list[Any]:
    """The inputs of a request, each a text or tokens."""
    given = document[name]
    return [given] if isinstance(given, str) or isinstance(given[0], int) else list(given)


def embedding_body(
    document: dict[str, Any], usage: bytes | None = EMBEDDING_USAGE, model: str = "served-embedder"
) -> bytes:
    """A vector of three for each input, as the request wants it written."""
    shown: Any = [0.25, -0.5, 1.0]
    if document.get("encoding_format") == "base64":
        shown = base64.b64encode(struct.pack("<3f", *shown)).decode()
    data = [
        {"object": "embedding", "index": index, "embedding": shown}
        for index, _ in enumerate(inputs_of(document, "input"))
    ]
    middle = b"" if usage is None else b' "usage" :' + usage + b","
    return b'{\n "object": "list",%b "data": %b, "model":"%b" }\n' % (
        middle,
        json.dumps(data).encode(),
        model.encode(),
    )


def embeds(usage: bytes | None = EMBEDDING_USAGE) -> Behaviour:
    """A good answer with this usage."""

    async def behave(received: Received, reply: Reply) -> None:
        reply.whole(200, embedding_body(received.json, usage))

    return behave


def completion_body(usage: bytes | None) -> bytes:
    """A whole answer."""
    choice = {"text": 'x "usage": {"prompt_tokens": 1}', "index": 0, "finish_reason": "stop"}
    middle = b"" if usage is None else b' "usage" :' + usage + b","
    return (
        b'{ "id": "cmpl-1", "object": "text_completion", "created": 1700000000,'
        b'\n "model":"served-model", "choices": ['
        + json.dumps(choice | {"logprobs": None}).encode()
        + b"],"
        + middle
        + b' "system_fingerprint": null }\n'
    )


def text_event(text: str, finish: str | None = None, index: int = 0) -> bytes:
    """One event of a stream."""
    choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
    document = {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1700000000,
        "model": "served-model",
        "choices": [choice],
        "usage": None,
    }
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


def text_usage_event(usage: bytes) -> bytes:
    """The event that a client gets only if it asked for usage."""
    return (
        b'data: {"id":"cmpl-1", "object":"text_completion", "created":1700000000,'
        b'"model":"served-model","choices": [ ], "usage": ' + usage.replace(b"\n", b"") + b" }\n\n"
    )


def completes(prompt: int = 11, completion: int = 7) -> Behaviour:
    """A good answer with this usage, streamed where the request says so."""

    async def behave(received: Received, reply: Reply) -> None:
        usage = usage_text(prompt, completion)
        received.billed = (prompt, completion)
        if not received.json.get("stream"):
            reply.whole(200, completion_body(usage))
            return
        reply.begin()
        for event in (*map(text_event, TEXTS), text_event("", "stop")):
            reply.chunk(event)
        if (received.json.get("stream_options") or {}).get("include_usage"):
            reply.chunk(text_usage_event(usage))
        reply.chunk(DONE)
        reply.end()

    return behave


def uses_all(prompt: int) -> Behaviour:
    """Makes all that it was allowed: the cap for each answer that the request has made."""

    async def behave(received: Received, reply: Reply) -> None:
        document = received.json
        made = max(document.get("n") or 1, document.get("best_of") or 1)
        completion = received.cap * made * len(inputs_of(document, "prompt"))
        await completes(prompt, completion)(received, reply)

    return behave


async def spent(stack: Stack) -> int:
    """In all counters of the organisation: a test looks at what it adds."""
    return sum(each[0] for each in (await stack.ledger.counters()).values())
