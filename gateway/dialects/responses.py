"""OpenAI's responses: requests, answers, streams, errors.

Shapes are those of the API reference (POST /v1/responses). Values stay as the client wrote them;
only what costs money is read, and only the model's name, the output cap and, where the provider
runs tools, the most that it may call are written.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.dialects.added_fields import with_cap, with_cost
from gateway.dialects.chat import OUTPUT_TOKENS_MAX, refuse_decided, service_tier
from gateway.dialects.chat import REFUSED_FIELDS as CHAT_REFUSED_FIELDS
from gateway.dialects.contract import CACHE_WRITE_UNSEEN, NOTHING_SAID, Call, Usage
from gateway.dialects.jsonbody import (
    boolean,
    decoded,
    model_name,
    parse_object,
    rewritten,
    whole_number,
)
from gateway.dialects.openai_error import error_body, error_fields
from gateway.dialects.responses_input import ResponsesInput, cache_write_of
from gateway.dialects.responses_stream import ResponsesStreamReader, streamed_tokens_max
from gateway.dialects.responses_usage import Response, usage_of
from gateway.errors import GatewayError, InvalidRequest, NotPriced
from pricing import Measure

CAP = "max_output_tokens"
OUTPUT_TOKENS_LEAST = 16
"""What OpenAI's API asks for at least."""

TOOL_CALLS_MAX = 128
TOOL_CALLS_WRITTEN = 2
"""What the gateway writes as `max_tool_calls` where the provider runs tools and the client leaves
it open: each call is one more reading of all input, and all of them are reserved for."""

REFUSED_FIELDS = CHAT_REFUSED_FIELDS | {"background_options"}
# Each would bill what nobody can bound here, unless it has one of these values.
UNPRICED_FIELDS: Mapping[str, tuple[object, ...]] = {
    "context_management": (None, []),
    "moderation": (None,),
    "prompt": (None,),  # a stored one may bring tools
}
UNSEEN_FIELDS = frozenset(("previous_response_id", "conversation"))
"""What the provider keeps: all of it counts as the context window."""

KNOWN_FIELDS = (
    REFUSED_FIELDS
    | UNPRICED_FIELDS.keys()
    | UNSEEN_FIELDS
    | frozenset(
        (
            *("model", "input", "instructions", "tools", "stream", "stream_options", CAP),
            *("tool_choice", "parallel_tool_calls", "max_tool_calls", "reasoning", "text"),
            *("include", "store", "background", "temperature", "top_p", "top_logprobs"),
            *("truncation", "metadata", "client_metadata", "user", "safety_identifier"),
            *("service_tier", "prompt_cache_key", "prompt_cache_options"),
            *("prompt_cache_retention", "access_programs", "image"),
        )
    )
)
_answer_decoder = msgspec.json.Decoder(Response)


class ResponsesDialect:
    """See Dialect."""

    endpoint = "/v1/responses"

    def parse(
        self,
        body: bytes,
        headers: Mapping[bytes, bytes] = NOTHING_SAID,  # noqa: ARG002  # all is in the body
    ) -> Call:
        """See Dialect."""
        fields = parse_object(body)
        _refuse_fields(fields)
        bound = _bound(fields, ResponsesInput(), rewritten)
        stream = boolean(fields, "stream")
        calls_max = whole_number(fields, "max_tool_calls", 1, TOOL_CALLS_MAX)
        hosted = bound.hosted
        bound.unknown |= _is_kept(fields) or not fields.keys() <= KNOWN_FIELDS
        input_windows, searches_max = 1, 0
        if hosted.runs:
            calls_max = calls_max or TOOL_CALLS_WRITTEN
            fields["max_tool_calls"] = msgspec.Raw(b"%d" % calls_max)
            input_windows = calls_max + 1
            searches_max = calls_max if hosted.searches else 0
        return Call(
            model=model_name(fields),
            stream=stream,
            wants_usage=stream,
            n=1,
            output_cap=whole_number(fields, CAP, OUTPUT_TOKENS_LEAST, OUTPUT_TOKENS_MAX),
            fields=fields,
            input_tokens_max=bound.tokens_max,
            unseen_content=bound.unseen,
            has_tools=bound.tools > 0,
            cache_write=CACHE_WRITE_UNSEEN if bound.unknown else cache_write_of(_marked(fields)),
            audio_input=bound.audio,
            audio_output=False,
            images=tuple(bound.images),
            output_tokens_least=OUTPUT_TOKENS_LEAST,
            input_windows=input_windows,
            searches_max=searches_max,
            service_tier=service_tier(fields) if "service_tier" in fields else "",
        )

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        return _bound(call.fields, ResponsesInput(measure), decoded).tokens_max

    def encode(self, call: Call, model: str) -> bytes:
        """See Dialect."""
        fields = call.fields.copy()
        fields.pop(CAP, None)
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        return msgspec.json.encode(fields)

    def with_cap(self, encoded: bytes, cap_field: str, output_tokens: int) -> bytes:
        """See Dialect."""
        return with_cap(encoded, cap_field, output_tokens)

    def usage(self, body: bytes, biller: str) -> tuple[Usage, bytes]:
        """See Dialect."""
        try:
            answer = _answer_decoder.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Usage(None), b""
        return usage_of(answer, biller), bytes(answer.usage)

    def told(self, body: bytes, raw_usage: bytes, cost_usd: str | None) -> bytes:
        """See Dialect."""
        return body if cost_usd is None else with_cost(body, raw_usage, cost_usd)

    def stream_reader(
        self,
        call: Call,  # noqa: ARG002  # all alike
        biller: str,
    ) -> ResponsesStreamReader:
        """See Dialect."""
        return ResponsesStreamReader(biller)

    def streamed_tokens_max(self, received: bytes) -> int:
        """See Dialect."""
        return streamed_tokens_max(received)

    def provider_error(self, _status: int, body: bytes) -> bytes:
        """See Dialect."""
        return body

    def error_body(self, error: GatewayError) -> bytes:
        """See Dialect: as in chat."""
        return error_body(error)

    def error_event(self, error: GatewayError) -> bytes:
        """See Dialect. The reference has the fields of the error beside `type`; what OpenAI sends
        has them in `error`, which its library raises on: both are there."""
        said = error_fields(error)
        event = {"type": "error", "sequence_number": 0, **_beside(said), "error": said}
        return b"event: error\ndata: " + msgspec.json.encode(event) + b"\n\n"


def _beside(said: dict[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in ("code", "message", "param")}


def _bound(fields: dict[str, msgspec.Raw], bound: ResponsesInput, read: Any) -> ResponsesInput:
    """Adds up what the provider writes into the prompt; `read` gives a field's value."""
    bound.add_instructions(read(fields, "instructions"))
    bound.add_input(read(fields, "input"))
    bound.add_tools(read(fields, "tools"))
    bound.add_json(read(fields, "text"))
    return bound


def _is_kept(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether it refers to content that the provider keeps."""
    return any(decoded(fields, name) is not None for name in UNSEEN_FIELDS & fields.keys())


def _marked(fields: dict[str, msgspec.Raw]) -> bytes:
    """The bytes in which a cache mark can be, as they are forwarded."""
    options, named = "prompt_cache_options", b""
    if options in fields:
        rewritten(fields, options)
        named = options.encode() + bytes(fields[options])
    return named + b"".join(bytes(fields[name]) for name in ("input", "tools") if name in fields)


def _refuse_fields(fields: dict[str, msgspec.Raw]) -> None:
    refuse_decided(REFUSED_FIELDS & fields.keys())
    for name, free in UNPRICED_FIELDS.items():
        if name in fields and decoded(fields, name) not in free:
            raise NotPriced(f"{name} may bring what has no bound here: remove it", param=name)
    if boolean(fields, "background"):
        raise InvalidRequest(
            "a response in the background cannot be settled: send it with stream, and wait",
            param="background",
        )
    _refuse_values(fields)


def _refuse_values(fields: dict[str, msgspec.Raw]) -> None:
    reasoning = rewritten(fields, "reasoning")
    if reasoning is None:
        return
    if not isinstance(reasoning, dict):
        raise InvalidRequest("reasoning is an object", param="reasoning")
    if reasoning.get("mode") not in (None, "standard"):
        raise NotPriced(
            "reasoning.mode other than standard has no bound here: remove it", param="reasoning"
        )
