"""All settings, read once from the file and the environment into one frozen value.

An unknown field is an error with its line and the nearest name: a budget that was misspelt must not
be a budget that does not exist. Secrets are named in the file (`os.environ/NAME`), read from the
environment, and never shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from budgets.ledger import LedgerOptions
from budgets.policy import Policy, PolicyInvalid, parse_policy, parse_scope
from comptroller.document import ConfigInvalid, Value, read_document
from comptroller.options import OPTIONS, SECTIONS, Option, OptionValue
from gateway.options import GatewayOptions
from pricing import DEMO_PRICES, Price, PriceInvalid, price_from_model_info

OPENAI_BASE = "https://api.openai.com/v1"
# Servers that speak chat completions as OpenAI does; LiteLLM's names for them.
COMPATIBLE = ("openai", "custom_openai", "hosted_vllm", "openai_like")
SECRET_CHARS_MIN = 16
_UNSUPPORTED = ("litellm_settings", "router_settings", "general_settings", "environment_variables")
_ENVIRONMENT = "os.environ/"
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)")
_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_KEY_FIELDS = (
    *("name", "scope", "secret", "models", "endpoints", "expires_in"),
    *("budget", "agent", "tags"),
)
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One entry of model_list. Timeouts are 0 where the gateway's own hold."""

    name: str
    provider: str
    upstream_model: str
    price: Price
    api_base: str = ""
    api_key: str = field(default="", repr=False)
    timeout_ms: int = 0
    stream_timeout_ms: int = 0
    reasons_unseen: bool = True


@dataclass(frozen=True, slots=True)
class DeclaredKey:
    """One entry of keys. `expires_in_ms` counts from first creation; None: never."""

    name: str
    scope: str
    secret: str = field(repr=False)
    budget: Policy = field(default_factory=Policy)
    models: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    expires_in_ms: int | None = None
    agent: str = ""
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator decides."""

    host: str
    port: int
    workers: int
    data_dir: str
    redis_url: str = field(repr=False)
    gateway: GatewayOptions
    ledger: LedgerOptions
    models: tuple[ModelEntry, ...]
    budgets: tuple[tuple[str, Policy], ...] = ()
    keys: tuple[DeclaredKey, ...] = ()


def load_settings(path: Path | None, environment: Mapping[str, str]) -> Settings:
    """From `path` (None: defaults) and the environment, which wins. Raises ConfigInvalid."""
    root = read_document(path) if path is not None else None
    top = {} if root is None else _top_fields(root)
    values = {option.name: _option(option, top, environment) for option in OPTIONS}
    return Settings(
        host=str(values["host"]),
        port=int(values["port"]),
        workers=int(values["workers"]),
        data_dir=str(values["data_dir"]),
        redis_url=str(values["redis_url"]),
        gateway=GatewayOptions(**_of_section("gateway", values)),  # type: ignore[arg-type]
        ledger=LedgerOptions(**_of_section("ledger", values)),  # type: ignore[arg-type]
        models=_models(top.get("model_list"), environment),
        budgets=_budgets(top.get("budgets")),
        keys=_keys(top.get("keys"), environment),
    )


def _top_fields(root: Value) -> dict[str, Value]:
    fields = root.fields()
    for name in _UNSUPPORTED:
        if name in fields:
            raise fields[name].error(f"{name} is not supported by this version: remove it")
    own = [option.name for option in OPTIONS if not option.section]
    return root.known_fields(("model_list", "budgets", "keys", *SECTIONS, *own), "the file")


def _of_section(section: str, values: dict[str, OptionValue]) -> dict[str, OptionValue]:
    return {each.name: values[each.name] for each in OPTIONS if each.section == section}


def _option(option: Option, top: dict[str, Value], environment: Mapping[str, str]) -> OptionValue:
    if option.variable in environment:
        return _from_environment(option, environment[option.variable])
    fields = top
    if option.section:
        if option.section not in top:
            return option.default
        names = [each.name for each in OPTIONS if each.section == option.section]
        fields = top[option.section].known_fields(names, option.section)
    if option.name not in fields:
        return option.default
    value = fields[option.name]
    problem = _problem(option, value.plain())
    if problem:
        raise value.error(problem)
    plain: OptionValue = value.plain()
    return plain


def _from_environment(option: Option, text: str) -> OptionValue:
    value: OptionValue = text
    if isinstance(option.default, bool):
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    elif isinstance(option.default, int) and re.fullmatch(r"\d{1,18}", text):
        value = int(text)
    problem = _problem(option, value)
    if problem:
        raise ConfigInvalid(f"{option.variable}: {problem}")
    return value


def _problem(option: Option, value: object) -> str:
    """Why the value does not fit its option; empty if it does."""
    if type(value) is not type(option.default):
        kind = {bool: "true or false", int: "a whole number", str: "a text"}[type(option.default)]
        return f"{option.name} must be {kind}"
    if type(value) is int and not option.least <= value <= option.most:
        return f"{option.name} must be from {option.least} to {option.most}"
    return ""


def _models(value: Value | None, environment: Mapping[str, str]) -> tuple[ModelEntry, ...]:
    if value is None:
        return tuple(_demo_entry(name, name, DEMO_PRICES[name]) for name in DEMO_PRICES)
    entries: dict[str, tuple[ModelEntry, int]] = {}
    for item in value.items():
        entry = _model(item, environment)
        if entry.name in entries:
            raise item.error(
                f"model_name {entry.name!r} is there already, in line {entries[entry.name][1]}: "
                "several deployments of one name are not supported by this version"
            )
        entries[entry.name] = entry, item.line
    if not entries:
        raise value.error("model_list is empty: leave it out to serve the demo models")
    return tuple(entry for entry, _ in entries.values())


def _demo_entry(name: str, upstream_model: str, price: Price) -> ModelEntry:
    reasons = "reasoner" in upstream_model
    return ModelEntry(name, "demo", upstream_model, price, reasons_unseen=reasons)


def _model(item: Value, environment: Mapping[str, str]) -> ModelEntry:
    known = ("model_name", "litellm_params", "model_info")
    fields = item.known_fields(known, "an entry of model_list")
    for name in known[:2]:
        if name not in fields:
            raise item.error(f"an entry of model_list needs {name}")
    name = fields["model_name"].text("model_name")
    params = fields["litellm_params"].known_fields(
        ("model", "api_base", "api_key", "timeout", "stream_timeout"), "litellm_params"
    )
    if "model" not in params:
        raise fields["litellm_params"].error("litellm_params needs model, as in openai/gpt-5-mini")
    provider, _, upstream_model = params["model"].text("model").partition("/")
    info = fields["model_info"].plain() if "model_info" in fields else {}
    if provider == "demo":
        demo = f"demo/{upstream_model}"
        if demo not in DEMO_PRICES:
            raise params["model"].error(f"unknown demo model; there are {', '.join(DEMO_PRICES)}")
        return _demo_entry(name, demo, DEMO_PRICES[demo])
    if provider not in COMPATIBLE or not upstream_model:
        raise params["model"].error(
            f"this version serves OpenAI-compatible servers: write {COMPATIBLE[0]}/<model> with "
            "an api_base"
        )
    where = fields.get("model_info", item)
    if not isinstance(info, dict):
        raise where.error("model_info is a mapping")
    try:
        price = price_from_model_info(provider, upstream_model, info)
    except PriceInvalid as error:
        raise where.error(f"{name} has no usable price: {error}") from None
    timeout_ms = _seconds_ms(params.get("timeout"), "timeout")
    return ModelEntry(
        name=name,
        provider=provider,
        upstream_model=upstream_model,
        price=price,
        api_base=_api_base(params.get("api_base")),
        api_key=_secret(params.get("api_key"), "api_key", environment),
        timeout_ms=timeout_ms,
        stream_timeout_ms=_seconds_ms(params.get("stream_timeout"), "stream_timeout") or timeout_ms,
        reasons_unseen=info.get("supports_reasoning") is not False,
    )


def _api_base(value: Value | None) -> str:
    if value is None:
        return OPENAI_BASE
    base = value.text("api_base")
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query:
        raise value.error("api_base is a URL, as in https://api.openai.com/v1")
    if parts.username or parts.password:
        raise value.error("api_base holds no password: use api_key")
    return base


def _secret(value: Value | None, what: str, environment: Mapping[str, str]) -> str:
    if value is None:
        return ""
    text = value.text(what)
    if not text.startswith(_ENVIRONMENT):
        return text
    variable = text.removeprefix(_ENVIRONMENT)
    if not environment.get(variable):
        raise value.error(f"{what} names the environment variable {variable}, which is not set")
    return environment[variable]


def _seconds_ms(value: Value | None, what: str) -> int:
    if value is None:
        return 0
    seconds = value.plain()
    if (
        isinstance(seconds, bool)
        or not isinstance(seconds, int | float)
        or not (0 < seconds <= 7200)
    ):
        raise value.error(f"{what} is a number of seconds above 0, at most 7200")
    return max(1, int(seconds * 1000))


def _budgets(value: Value | None) -> tuple[tuple[str, Policy], ...]:
    if value is None:
        return ()
    return tuple((_scope(scope, each), _policy(each)) for scope, each in value.fields().items())


def _scope(text: str, value: Value) -> str:
    try:
        parse_scope(text)
    except PolicyInvalid as error:
        raise value.error(str(error)) from None
    return text


def _policy(value: Value) -> Policy:
    try:
        return parse_policy(value.plain())
    except PolicyInvalid as error:
        raise value.error(str(error)) from None


def _keys(value: Value | None, environment: Mapping[str, str]) -> tuple[DeclaredKey, ...]:
    keys: dict[str, tuple[DeclaredKey, int]] = {}
    for item in value.items() if value is not None else ():
        key = _key(item, environment)
        if key.name in keys:
            raise item.error(f"key {key.name!r} is there already, in line {keys[key.name][1]}")
        keys[key.name] = key, item.line
    return tuple(key for key, _ in keys.values())


def _key(item: Value, environment: Mapping[str, str]) -> DeclaredKey:
    if "subscopes" in (named := item.fields()):
        raise named["subscopes"].error("subscopes are not supported by this version: remove it")
    fields = item.known_fields(_KEY_FIELDS, "a key")
    for name in ("name", "scope", "secret"):
        if name not in fields:
            raise item.error(f"a key needs {name}")
    name = fields["name"].text("name")
    if not _KEY_NAME.fullmatch(name):
        raise fields["name"].error("a key's name has letters, digits, . _ - and at most 48 of them")
    secret = _secret(fields["secret"], "secret", environment)
    if len(secret) < SECRET_CHARS_MIN:
        raise fields["secret"].error(f"a secret has at least {SECRET_CHARS_MIN} characters")
    return DeclaredKey(
        name=name,
        scope=_scope(fields["scope"].text("scope"), fields["scope"]),
        secret=secret,
        budget=_policy(fields["budget"]) if "budget" in fields else Policy(),
        models=fields["models"].texts("models") if "models" in fields else (),
        endpoints=fields["endpoints"].texts("endpoints") if "endpoints" in fields else (),
        expires_in_ms=_duration_ms(fields.get("expires_in")),
        agent=fields["agent"].text("agent") if "agent" in fields else "",
        tags=_tags(fields.get("tags")),
    )


def _duration_ms(value: Value | None) -> int | None:
    if value is None:
        return None
    match = _DURATION.fullmatch(str(value.plain()))
    if not match:
        raise value.error("expires_in is a duration, as in 30d, 12h, 10m or 45s")
    return int(match[1]) * _UNITS_MS[match[2]]


def _tags(value: Value | None) -> dict[str, str]:
    if value is None:
        return {}
    return {name: each.text(f"tag {name}") for name, each in value.fields().items()}
