"""OpenAI's chat completions: requests, answers, streams, errors.

Shapes are those of the API reference (POST /v1/chat/completions). Values stay as the client wrote
them; only what costs money is read, and only the output cap, the model's name and the request for
usage are written.
"""

from collections.abc import Mapping, Set
from typing import Any

import msgspec

from gateway.dialects.added_fields import with_cap, with_cost
from gateway.dialects.chat_input import InputBound, cache_write_asked, top_mark
from gateway.dialects.chat_stream import ChatStreamReader, Choice, usage_from
from gateway.dialects.contract import CACHE_WRITE_UNSEEN, NOTHING_SAID, Call, Usage
from gateway.dialects.jsonbody import (
    boolean,
    decoded,
    model_name,
    parse_object,
    rewritten,
    whole_number,
)
from gateway.dialects.openai_error import error_body
from gateway.dialects.streamed_texts import produced_tokens_max
from gateway.errors import GatewayError, InvalidRequest, NotPriced
from pricing import Measure

N_MAX = 128
OUTPUT_TOKENS_MAX = 10**7
CAPS = ("max_completion_tokens", "max_tokens")
# Fields that would choose another server, key, model or bill than the one that is priced. The first
# group is how LiteLLM's and OpenRouter's own parameters leak provider keys when passed through.
REFUSED_FIELDS = frozenset(
    (
        *("api_base", "api_key", "api_version", "base_url", "custom_llm_provider"),
        *("extra_headers", "fallbacks", "mock_response", "models", "organization"),
        *("plugins", "provider", "route", "transforms"),
    )
)
UNPRICED_FIELDS = frozenset(["best_of", "prompt_logprobs", "use_beam_search", "web_search_options"])
# Parts of a request that a provider writes into the prompt, beside messages and tools.
PROMPT_FIELDS = frozenset(
    ("response_format", "functions", "prediction", "chat_template_kwargs", "documents")
)
# Fields that need no look beyond what every request gets: most requests have no others.
PLAIN_FIELDS = frozenset(
    (
        *("model", "messages", "stream", "stream_options", "n", *CAPS),
        *("temperature", "top_p", "stop", "seed", "user", "presence_penalty"),
        *("frequency_penalty", "logit_bias", "logprobs", "top_logprobs", "metadata", "store"),
    )
)
# Fields that are looked at, or that cost nothing. Any other one may bring content that nobody has
# seen: the request counts as the whole context window then.
KNOWN_FIELDS = (
    REFUSED_FIELDS
    | UNPRICED_FIELDS
    | PROMPT_FIELDS
    | frozenset(
        (
            *("tools", "tool_choice", "parallel_tool_calls", "function_call", "modalities"),
            *("audio", "reasoning_effort", "verbosity", "service_tier", "prompt_cache_key"),
            *("prompt_cache_retention", "safety_identifier", "cache_control", "thinking"),
            *("reasoning", "top_k", "min_p", "repetition_penalty", "ignore_eos", "min_tokens"),
            *("skip_special_tokens", "stop_token_ids", "guided_json", "guided_regex"),
            *("guided_choice", "guided_grammar", "structured_outputs", "include_reasoning"),
        )
    )
)


class _Answer(msgspec.Struct):
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: msgspec.Raw = msgspec.Raw(b"")
    model: str | None = None
    choices: list[Choice] | None = None
    service_tier: str | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


class ChatDialect:
    """See Dialect."""

    endpoint = "/v1/chat/completions"

    def parse(
        self,
        body: bytes,
        headers: Mapping[bytes, bytes] = NOTHING_SAID,  # noqa: ARG002  # all is in the body
    ) -> Call:
        """See Dialect."""
        fields = parse_object(body)
        rare = fields.keys() - PLAIN_FIELDS
        stream = "stream" in fields and boolean(fields, "stream")
        bound = InputBound()
        bound.unknown = not rare <= KNOWN_FIELDS
        messages = rewritten(fields, "messages")
        bound.add_messages(messages)
        tools = None
        if rare:
            refuse_fields(fields, rare)
            tools = rewritten(fields, "tools")
            bound.add_tools(tools)
            for name in PROMPT_FIELDS & rare:
                bound.add_field(name, rewritten(fields, name))
        caps = [
            cap
            for name in CAPS
            if name in fields
            and (cap := whole_number(fields, name, 1, OUTPUT_TOKENS_MAX)) is not None
        ]
        return Call(
            model=model_name(fields),
            stream=stream,
            wants_usage=stream and include_usage(fields),
            n=whole_number(fields, "n", 1, N_MAX) or 1,
            output_cap=min(caps, default=None),
            fields=fields,
            input_tokens_max=bound.tokens_max,
            unseen_content=bound.unseen,
            has_tools=bound.tools > 0,
            cache_write=(
                CACHE_WRITE_UNSEEN
                if bound.unknown
                else cache_write_asked([messages, tools, top_mark(fields)], _marked(fields))
            ),
            audio_input=bound.audio,
            audio_output=bool(rare) and _audio_output(fields),
            images=tuple(bound.images),
            service_tier=service_tier(fields) if "service_tier" in rare else "",
        )

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        bound = InputBound(measure)
        bound.add_messages(decoded(call.fields, "messages"))
        bound.add_tools(decoded(call.fields, "tools"))
        for name in PROMPT_FIELDS & call.fields.keys():
            bound.add_field(name, decoded(call.fields, name))
        return bound.tokens_max

    def encode(self, call: Call, model: str) -> bytes:
        """See Dialect."""
        fields = call.fields.copy()
        for name in CAPS:
            fields.pop(name, None)
        fields["model"] = msgspec.Raw(msgspec.json.encode(model))
        if call.stream:
            options = decoded(call.fields, "stream_options") or {}
            options["include_usage"] = True
            fields["stream_options"] = msgspec.Raw(msgspec.json.encode(options))
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
        raw = bytes(answer.usage)
        if not raw and not answer.choices and bytes(answer.error) not in (b"", b"null"):
            return Usage(None, is_error=True), raw
        usage = usage_from(raw, answer.model, answer.choices, biller, answer.service_tier)
        return usage, raw

    def told(self, body: bytes, raw_usage: bytes, cost_usd: str | None) -> bytes:
        """See Dialect."""
        return body if cost_usd is None else with_cost(body, raw_usage, cost_usd)

    def stream_reader(self, call: Call, biller: str) -> ChatStreamReader:
        """See Dialect."""
        return ChatStreamReader(wants_usage=call.wants_usage, biller=biller, choices=call.n)

    def streamed_tokens_max(self, received: bytes) -> int:
        """See Dialect."""
        return produced_tokens_max(received, _produced)

    def provider_error(self, _status: int, body: bytes) -> bytes:
        """See Dialect."""
        return body

    def error_body(self, error: GatewayError) -> bytes:
        """See Dialect: `{"error": {message, type, param, code}}`, and a reason where one is."""
        return error_body(error)

    def error_event(self, error: GatewayError) -> bytes:
        """See Dialect."""
        return b"data: " + self.error_body(error) + b"\n\n"


def _marked(fields: dict[str, msgspec.Raw]) -> bytes:
    """The bytes in which a mark can be, as they are forwarded."""
    top = b"cache_control" if "cache_control" in fields else b""
    tools = bytes(fields["tools"]) if "tools" in fields else b""
    return bytes(fields["messages"]) + tools + top


def refuse_fields(
    fields: dict[str, msgspec.Raw], rare: set[str], unpriced: frozenset[str] = UNPRICED_FIELDS
) -> None:
    """Raises InvalidRequest, NotPriced for those that would choose another bill."""
    refuse_decided(rare & REFUSED_FIELDS)
    for name in rare:
        if name in unpriced and decoded(fields, name) not in (None, False):
            raise NotPriced(f"{name} costs money that has no price here: remove it", param=name)


def refuse_decided(names: Set[str]) -> None:
    """Raises InvalidRequest for any of those that no client may choose."""
    for name in names:
        raise InvalidRequest(
            f"{name} is the gateway's to decide: remove it from the request", param=name
        )


def service_tier(fields: dict[str, msgspec.Raw]) -> str:
    """The tier that is asked for, "" for none. Raises NotPriced."""
    tier = decoded(fields, "service_tier")
    if tier is None:
        return ""
    if not isinstance(tier, str) or not tier:
        raise NotPriced(
            "service_tier is the name of one, as auto or default: nothing else has a price",
            param="service_tier",
        )
    return tier


def include_usage(fields: dict[str, msgspec.Raw]) -> bool:
    """Whether the client asks for the usage of a stream. Raises InvalidRequest."""
    options = decoded(fields, "stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options is an object", param="stream_options")
    return options.get("include_usage") is True


def _audio_output(fields: dict[str, msgspec.Raw]) -> bool:
    modalities = decoded(fields, "modalities")
    if modalities is not None and not isinstance(modalities, list):
        raise InvalidRequest("modalities is a list", param="modalities")
    return "audio" in (modalities or ()) or decoded(fields, "audio") is not None


def _produced(event: Any) -> Any:
    """The choices, in servers' own forms of an event the whole of it."""
    return event.get("choices", event) if isinstance(event, dict) else event
