"""Anthropic's Messages: requests, answers, streams, errors.

Shapes are those of Anthropic's API reference (`POST /v1/messages`) with the fields of its betas
(anthropic-sdk-python, `types/beta/message_create_params.py`). Values stay as the client wrote them;
only what costs money is read, and only the output cap and the model's name are written.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.dialects import messages_errors
from gateway.dialects.added_fields import with_cap, with_cost
from gateway.dialects.chat import OUTPUT_TOKENS_MAX, REFUSED_FIELDS, refuse_decided
from gateway.dialects.chat_input import cache_write_asked, top_mark
from gateway.dialects.contract import CACHE_WRITE_UNSEEN, NOTHING_SAID, Call, Usage
from gateway.dialects.jsonbody import (
    boolean,
    decoded,
    model_name,
    parse_object,
    rewritten,
    whole_number,
)
from gateway.dialects.messages_betas import spoken
from gateway.dialects.messages_input import MessagesBound
from gateway.dialects.messages_stream import MessagesStreamReader, usage_from
from gateway.dialects.streamed_texts import produced_tokens_max
from gateway.errors import GatewayError, InvalidRequest, NotPriced
from pricing import Measure

CAP = "max_tokens"
# What the provider puts into the prompt: written anew before it is sent.
CONTENT_FIELDS = ("messages", "system", "tools", "output_config", "output_format")
# Fields that need no look beyond what every request gets: most requests have no others.
PLAIN_FIELDS = frozenset(
    (
        *("model", "messages", "system", "tools", "tool_choice", CAP, "stream", "thinking"),
        *("temperature", "top_k", "top_p", "stop_sequences", "metadata", "cache_control"),
        *("output_config", "output_format"),
    )
)
# Looked at below, or of no cost. Any other field may bring content that nobody has seen: the
# request counts as the whole context window then. So does a thread, which the provider holds.
KNOWN_FIELDS = PLAIN_FIELDS | frozenset(
    (
        *("service_tier", "speed", "inference_geo", "context_management", "diagnostics"),
        *("container", "mcp_servers", "compaction", "fallbacks", "fallback_credit_token"),
        *("billing_policy", "betas", "anthropic_beta"),
    )
)
OUTPUT_SETTINGS = frozenset(("effort", "format"))
"""Of `output_config`. A budget of a task is told to the model again and again."""
SERVICE_TIERS = ("auto", "standard_only")
_LOOPS = "runs at the provider, which reads the whole input again after each call"
_UNPRICED: Mapping[str, str] = MappingProxyType(
    {
        "container": _LOOPS,
        "mcp_servers": _LOOPS,
        "compaction": "is billed beside the message, and nothing bounds it beforehand",
        "fallbacks": "lets another model answer, at another price",
        "fallback_credit_token": "changes what the cache costs",
        "billing_policy": "lets somebody else pay",
    }
)
"""Fields of which any value but null, [] or {} costs what has no price here -> why."""
# Context editing takes away from the prompt; compaction (`compact_...`) is a request of its own.
_FREE_EDITS = ("clear_tool_uses_", "clear_thinking_")
_THINKING_TYPES = ("enabled", "adaptive", "disabled", "between_tools")


class _Answer(msgspec.Struct):
    type: str = ""
    model: str | None = None
    stop_reason: str | None = None
    usage: msgspec.Raw = msgspec.Raw(b"")


_answer_decoder = msgspec.json.Decoder(_Answer)


class MessagesDialect:
    """See Dialect."""

    endpoint = "/v1/messages"

    def parse(self, body: bytes, headers: Mapping[bytes, bytes] = NOTHING_SAID) -> Call:
        """See Dialect."""
        fields = parse_object(body)
        said = spoken(headers)
        rare = fields.keys() - PLAIN_FIELDS
        if rare:
            _check_rare(fields, rare)
        content = {name: rewritten(fields, name) for name in CONTENT_FIELDS if name in fields}
        bound = MessagesBound()
        bound.unknown = said.unknown or not rare <= KNOWN_FIELDS
        _add_content(bound, content)
        cap = _cap(fields)
        return Call(
            model=model_name(fields),
            stream="stream" in fields and boolean(fields, "stream"),
            wants_usage=True,
            n=1,
            output_cap=cap,
            output_tokens_least=_least(fields, cap) if "thinking" in fields else 0,
            fields=fields,
            input_tokens_max=bound.tokens_max,
            unseen_content=bound.unseen,
            has_tools=bound.tools > 0,
            cache_write=(
                CACHE_WRITE_UNSEEN
                if bound.unknown
                else cache_write_asked([*content.values(), top_mark(fields)], _marked(fields))
            ),
            audio_input=False,
            audio_output=False,
            images=tuple(bound.images),
            context_tokens=said.context_tokens,
            headers=said.headers,
        )

    def input_tokens_max(self, call: Call, measure: Measure) -> int:
        """See Dialect."""
        bound = MessagesBound(measure)
        _add_content(
            bound,
            {name: decoded(call.fields, name) for name in CONTENT_FIELDS if name in call.fields},
        )
        return bound.tokens_max

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
            raw = bytes(answer.usage)
            used = msgspec.json.decode(raw) if raw.startswith(b"{") else None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Usage(None), b""
        if answer.type == "error" and not raw:
            return Usage(None, is_error=True), b""
        return usage_from(used, answer.model or "", answer.stop_reason or "", biller), raw

    def told(self, body: bytes, raw_usage: bytes, cost_usd: str | None) -> bytes:
        """See Dialect."""
        return body if cost_usd is None else with_cost(body, raw_usage, cost_usd)

    def stream_reader(
        self,
        call: Call,  # noqa: ARG002  # all alike
        biller: str,
    ) -> MessagesStreamReader:
        """See Dialect."""
        return MessagesStreamReader(biller)

    def streamed_tokens_max(self, received: bytes) -> int:
        """See Dialect: texts, thinking, the names and arguments of tools."""
        return produced_tokens_max(received, _produced)

    def provider_error(self, _status: int, body: bytes) -> bytes:
        """See Dialect."""
        return body

    def error_body(self, error: GatewayError) -> bytes:
        """See Dialect."""
        return messages_errors.error_body(error)

    def error_event(self, error: GatewayError) -> bytes:
        """See Dialect."""
        return messages_errors.error_event(error)


def _add_content(bound: MessagesBound, content: Mapping[str, Any]) -> None:
    """All that the provider puts into the prompt. It explains a schema of the output to the model
    in a system prompt of its own ("Structured outputs"), as it does tools."""
    bound.add_messages(content.get("messages"))
    bound.add_system(content.get("system"))
    bound.add_tools(content.get("tools"))
    config, schema = content.get("output_config"), content.get("output_format")
    if config is not None and not isinstance(config, dict):
        raise InvalidRequest("output_config is an object", param="output_config")
    for each in (config, schema):
        bound.add_json(each)
    bound.unknown |= config is not None and not config.keys() <= OUTPUT_SETTINGS
    bound.tools += schema is not None or bool(config and config.get("format"))


def _cap(fields: dict[str, msgspec.Raw]) -> int:
    """As the API says it: there is no default. 0 fills the cache and produces nothing."""
    cap = whole_number(fields, CAP, 0, OUTPUT_TOKENS_MAX)
    if cap is None:
        raise InvalidRequest(f"{CAP}: Field required", param=CAP)
    return cap


def _least(fields: dict[str, msgspec.Raw], cap: int) -> int:
    """The provider refuses a cap that does not leave more than the budget of the thinking, unless
    thinking is interleaved with tools ("Extended thinking"): a request that has no more by itself
    is left for the provider to judge, at no less than it asks for."""
    thinking = decoded(fields, "thinking")
    if thinking is None:
        return 0
    if not isinstance(thinking, dict) or thinking.get("type") not in _THINKING_TYPES:
        kinds = ", ".join(_THINKING_TYPES)
        raise InvalidRequest(
            f"thinking is an object whose type is one of {kinds}", param="thinking"
        )
    fields["thinking"] = msgspec.Raw(msgspec.json.encode(thinking))
    budget = thinking.get("budget_tokens")
    if budget is None:
        return 0
    if type(budget) is not int or not 0 <= budget <= OUTPUT_TOKENS_MAX:
        raise InvalidRequest("thinking.budget_tokens is a whole number", param="thinking")
    return min(budget + 1, cap)


def _check_rare(fields: dict[str, msgspec.Raw], rare: set[str]) -> None:
    refuse_decided(rare & REFUSED_FIELDS - _UNPRICED.keys())
    for name in rare:
        if name in _UNPRICED and decoded(fields, name) not in (None, [], {}):
            raise NotPriced(f"{name} {_UNPRICED[name]}: remove it", param=name)
        check = _CHECKS.get(name)
        if check is not None:
            check(fields)


def _check_tier(fields: dict[str, msgspec.Raw]) -> None:
    """Priority capacity is paid for beforehand: `auto` costs no more ("Service tiers")."""
    if decoded(fields, "service_tier") not in (None, *SERVICE_TIERS):
        raise NotPriced(
            f"service_tier is {' or '.join(SERVICE_TIERS)}: no other has a price here",
            param="service_tier",
        )


def _check_speed(fields: dict[str, msgspec.Raw]) -> None:
    if decoded(fields, "speed") not in (None, "standard"):
        raise NotPriced("speed has no price here but the standard one: remove it", param="speed")


def _check_place(fields: dict[str, msgspec.Raw]) -> None:
    """Elsewhere it costs a tenth more ("Data residency")."""
    if decoded(fields, "inference_geo") not in (None, "global"):
        raise NotPriced(
            "inference_geo has no price here but global: remove it", param="inference_geo"
        )


def _check_edits(fields: dict[str, msgspec.Raw]) -> None:
    managed = rewritten(fields, "context_management")
    if managed is None:
        return
    edits = managed.get("edits") if isinstance(managed, dict) else managed
    if not isinstance(edits, list | None):
        raise InvalidRequest(
            "context_management is an object with edits", param="context_management"
        )
    for edit in edits or ():
        kind = edit.get("type") if isinstance(edit, dict) else None
        if not isinstance(kind, str) or not kind.startswith(_FREE_EDITS):
            raise NotPriced(
                f"context_management: edits are {'... or '.join(_FREE_EDITS)}...; another is "
                "billed beside the message, and nothing bounds it beforehand",
                param="context_management",
            )


def _check_betas(_fields: dict[str, msgspec.Raw]) -> None:
    raise InvalidRequest("name betas in the header anthropic-beta, not in the body", param="betas")


_CHECKS: Mapping[str, Callable[[dict[str, msgspec.Raw]], None]] = MappingProxyType(
    {
        "service_tier": _check_tier,
        "speed": _check_speed,
        "inference_geo": _check_place,
        "context_management": _check_edits,
        "betas": _check_betas,
        "anthropic_beta": _check_betas,
    }
)


def _marked(fields: dict[str, msgspec.Raw]) -> bytes:
    """The bytes in which a mark can be, as they are forwarded."""
    top = b"cache_control" if "cache_control" in fields else b""
    return top + b"".join(bytes(fields[name]) for name in CONTENT_FIELDS if name in fields)


def _produced(event: Any) -> Any:
    """What an event adds to the message."""
    if not isinstance(event, dict):
        return None
    return [event.get(name) for name in ("delta", "content_block")]
