"""`router_settings` and `litellm_settings`, in LiteLLM's format: what follows when providers fail.

Names, meanings and defaults are LiteLLM's ("Proxy config: router_settings, litellm_settings",
"Reliability"), and where both sections say something, `router_settings` wins, as there. One thing
is not: what may have worked at the provider is tried again only where the setting `retry_unknown`
says so, because it is paid twice. A field that LiteLLM obeys and this version does not is named and
refused.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Final

from comptroller.document import DecimalText, Value, shown
from gateway.routing_rules import ANY_MODEL, FailureKind, RoutingRules

SECONDS_MAX: Final = 7200
RETRIES_DEFAULT: Final = 2
RETRIES_MAX: Final = 10
FAILS_MAX: Final = 10**6
_FALLBACKS = ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_SHARED = ("num_retries", "allowed_fails", "default_fallbacks", *_FALLBACKS)
ROUTER_FIELDS = (
    *_SHARED,
    *("routing_strategy", "retry_after", "timeout", "stream_timeout", "cooldown_time"),
    *("disable_cooldowns", "max_fallbacks", "model_group_alias", "retry_policy"),
)
# What nothing here could follow: how LiteLLM writes its log, and what it leaves out of requests
# that it translates. Requests are forwarded as they are.
_WITHOUT_EFFECT = ("drop_params", "set_verbose", "json_logs", "telemetry")
_LIBRARY = (*_SHARED, "request_timeout", *_WITHOUT_EFFECT)
_POLICY: Mapping[str, FailureKind] = {
    "RateLimitErrorRetries": "rate_limited",
    "InternalServerErrorRetries": "failed",
    "TimeoutErrorRetries": "unknown",
}
_POLICY_NEVER = (
    *("AuthenticationErrorRetries", "BadRequestErrorRetries", "NotFoundErrorRetries"),
    "ContentPolicyViolationErrorRetries",
)
_INSTEAD: Mapping[str, str] = {
    "redis_host": "workers share what they need through the ledger (redis_url)",
    "redis_port": "workers share what they need through the ledger (redis_url)",
    "redis_password": "workers share what they need through the ledger (redis_url)",
    "redis_url": "workers share what they need through the ledger (redis_url at the top)",
    "enable_pre_call_checks": "order holds without it, and a request that is too long for its "
    "model is tried at context_window_fallbacks",
    "callbacks": "every request is an event in ClickHouse",
    "success_callback": "every request is an event in ClickHouse",
    "failure_callback": "every request is an event in ClickHouse",
    "turn_off_message_logging": "gateway: {payloads: off} keeps text out of the records",
    "max_budget": "budgets: holds, in every window and on every scope",
    "cache": "answers are never shared between requests",
}


@dataclass(frozen=True, slots=True)
class RouterSettings:
    """`aliases`: other names of a model -> its name. Timeouts: of models that say nothing, 0 where
    the gateway's own hold."""

    rules: RoutingRules
    aliases: Mapping[str, str] = field(default_factory=dict)
    timeout_ms: int = 0
    stream_timeout_ms: int = 0


def read_router_settings(
    router: Value | None, library: Value | None, *, retry_unknown: bool
) -> RouterSettings:
    """Of the two sections, each of which may be absent. Raises ConfigInvalid."""
    said = _given(library, _LIBRARY, "litellm_settings")
    for name in _WITHOUT_EFFECT:
        if name in said:
            _boolean(said[name])
    said |= _given(router, ROUTER_FIELDS, "router_settings")
    if "routing_strategy" in said:
        value = said["routing_strategy"]
        if value.content != "simple-shuffle":
            raise value.error(
                "routing_strategy is simple-shuffle in this version: by chance, as weight and "
                "order of the deployments say; others are not supported"
            )
    rules = RoutingRules(
        retries=_number(said.get("num_retries"), RETRIES_DEFAULT, RETRIES_MAX),
        retries_by_kind=_retry_policy(said.get("retry_policy")),
        retry_unknown=retry_unknown,
        wait_ms_least=_seconds_ms(said.get("retry_after")),
        fallbacks=_with_default(_fallbacks(said, "fallbacks"), said.get("default_fallbacks")),
        fallbacks_max=_number(said.get("max_fallbacks"), 5, 5),
        too_long_fallbacks=_fallbacks(said, "context_window_fallbacks"),
        against_policy_fallbacks=_fallbacks(said, "content_policy_fallbacks"),
        allowed_fails=_number(said.get("allowed_fails"), 3, FAILS_MAX),
        cooldown_ms=_cooldown_ms(said),
    )
    timeout_ms = _seconds_ms(said.get("timeout") or said.get("request_timeout"))
    return RouterSettings(
        rules=rules,
        aliases=_aliases(said.get("model_group_alias")),
        timeout_ms=timeout_ms,
        stream_timeout_ms=_seconds_ms(said.get("stream_timeout")),
    )


def check_models(
    settings: RouterSettings, models: Collection[str], *sections: Value | None
) -> None:
    """Every model that a fallback or an alias names is there. Raises ConfigInvalid."""
    known = {*models, *settings.aliases}
    for section in sections:
        said = {} if section is None or section.content is None else section.fields()
        for name in (*_FALLBACKS, "default_fallbacks"):
            for each in _texts_in(said.get(name)):
                if each.content not in known:
                    what = shown(str(each.content))
                    raise each.error(f"{name} names {what}, which is not in model_list")
        aliases = said.get("model_group_alias")
        if aliases is not None and aliases.content is not None:
            _check_aliases(settings, models, aliases)


def _check_aliases(settings: RouterSettings, models: Collection[str], aliases: Value) -> None:
    for alias, value in aliases.fields().items():
        if alias in models:
            raise value.error(f"{shown(alias)} is a model_name already: no alias of another")
        if settings.aliases[alias] not in models:
            raise value.error(f"{shown(alias)} is an alias of what is not in model_list")


def _given(section: Value | None, known: Collection[str], what: str) -> dict[str, Value]:
    """The fields of a section that say something; null is nothing, as LiteLLM writes it."""
    if section is None or section.content is None:
        return {}
    for name, value in section.fields().items():
        if name in _INSTEAD and value.content not in (None, False):
            raise value.error(f"{name} is not supported, remove it: {_INSTEAD[name]}")
    fields = {name: value for name, value in section.fields().items() if value.content is not None}
    refused = {name for name in fields if name in _INSTEAD}
    section.known_fields({*known, *_INSTEAD, *_nulls(section)}, what)
    return {name: value for name, value in fields.items() if name not in refused}


def _nulls(section: Value) -> set[str]:
    return {name for name, value in section.fields().items() if value.content is None}


def _number(value: Value | None, default: int, most: int) -> int:
    if value is None:
        return default
    if type(value.content) is not int or not 0 <= value.content <= most:
        raise value.error(f"{value.name} is a whole number from 0 to {most}")
    return value.content


def _boolean(value: Value) -> bool:
    if not isinstance(value.content, bool):
        raise value.error(f"{value.name} is true or false")
    return value.content


def _seconds_ms(value: Value | None) -> int:
    """Of a fraction of a millisecond the whole one counts."""
    if value is None:
        return 0
    plain = value.content
    if isinstance(plain, DecimalText | int) and not isinstance(plain, bool):
        seconds = Decimal(plain)
        if 0 <= seconds <= SECONDS_MAX:
            return int((seconds * 1000).to_integral_value(ROUND_CEILING))
    raise value.error(f"{value.name} is a number of seconds, at most {SECONDS_MAX}")


def _cooldown_ms(said: Mapping[str, Value]) -> int:
    if "disable_cooldowns" in said and _boolean(said["disable_cooldowns"]):
        return 0
    return _seconds_ms(said["cooldown_time"]) if "cooldown_time" in said else 5_000


def _retry_policy(value: Value | None) -> dict[FailureKind, int]:
    if value is None:
        return {}
    fields = value.known_fields((*_POLICY, *_POLICY_NEVER), "retry_policy")
    given = {name: each for name, each in fields.items() if each.content is not None}
    for name in _POLICY_NEVER:
        if name in given and given[name].content != 0:
            raise given[name].error(
                f"{name} must be 0: what a provider refuses it would refuse again"
            )
    return {
        kind: _number(given[name], 0, RETRIES_MAX)
        for name, kind in _POLICY.items()
        if name in given
    }


def _fallbacks(said: Mapping[str, Value], name: str) -> dict[str, tuple[str, ...]]:
    """LiteLLM's `[{model: [others]}]`."""
    value = said.get(name)
    found: dict[str, tuple[str, ...]] = {}
    for item in value.items() if value is not None else ():
        for model, others in item.fields().items():
            if model in found:
                raise others.error(f"{name} of {shown(model)} are there already")
            found[model] = others.texts(f"{name} of {shown(model)}")
    return found


def _with_default(
    fallbacks: dict[str, tuple[str, ...]], default: Value | None
) -> dict[str, tuple[str, ...]]:
    if default is None or ANY_MODEL in fallbacks:
        return fallbacks
    return {**fallbacks, ANY_MODEL: default.texts("default_fallbacks")}


def _texts_in(value: Value | None) -> list[Value]:
    """Every name in a list of fallbacks; those for whom they are may be anything."""
    if value is None or value.content is None:
        return []
    found = []
    for item in value.items():
        if isinstance(item.content, dict):
            found += [each for names in item.fields().values() for each in names.items()]
        else:
            found.append(item)
    return found


def _aliases(value: Value | None) -> dict[str, str]:
    """`alias: model`, or `alias: {model, hidden}`: none is listed by /v1/models."""
    found: dict[str, str] = {}
    for alias, each in value.fields().items() if value is not None else ():
        target = each
        if isinstance(each.content, dict):
            fields = each.known_fields(("model", "hidden"), "an alias")
            if "model" not in fields:
                raise each.error(f"the alias {shown(alias)} needs model")
            target = fields["model"]
        found[alias] = target.text("an alias")
    return found
