"""All settings, read once from the file and the environment into one frozen value.

An unknown field is an error with its line and the nearest name: a budget that was misspelt must not
be a budget that does not exist. Secrets are named in the file (`os.environ/NAME`), read from the
environment, and never shown.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from budgets.duration import duration_ms
from budgets.endingdisk import EndingsOptions
from budgets.ledger import LedgerOptions
from budgets.policy import (
    DIMENSIONS,
    POLICY_FIELDS,
    Policy,
    PolicyInvalid,
    parse_policy,
    parse_scope,
)
from budgets.redisurl import RedisUrlInvalid, parse_redis_url
from budgets.subscopes import SubscopesInvalid, parse_sources
from clickhouse.options import RecordsOptions
from comptroller.document import ConfigInvalid, Value, Written, document_of, read_written
from comptroller.litellm_settings import master_key, with_variables
from comptroller.looked_up import read_looked_up
from comptroller.model_list import ModelEntry, first_that_chats, read_models
from comptroller.options import OPTIONS, SECTIONS, Option, OptionValue
from comptroller.router_settings import RouterSettings, check_models, read_router_settings
from comptroller.variables import LOOKED_UP_VARIABLE
from gateway.options import GatewayOptions
from orchestrator.running.options import WorkflowOptions
from recorder.options import RecorderOptions

SECRET_CHARS_MIN = 16
_LITELLM = ("litellm_settings", "router_settings", "general_settings", "environment_variables")
SETTING_CHARS_MAX = 4096
_KEY_FIELDS = (
    *("name", "scope", "secret", "models", "endpoints", "expires_in"),
    *("budget", "agent", "tags", "delegates", "subscopes"),
)
_LIMIT_FIELDS = (*DIMENSIONS, "window", "models")
_CLICKHOUSE_URL = re.compile(r"|https?://[A-Za-z0-9.:\[\]_-]+/?")
_DATABASE_URL = re.compile(r"|postgres(ql)?://\S+")
_CLUSTER = re.compile(r"|[A-Za-z0-9_-]{1,64}")
_KEY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")

__all__ = [
    "ConfigInvalid",
    "DeclaredKey",
    "ModelEntry",
    "Settings",
    "load_settings",
]


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
    delegates: bool = False
    subscopes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that an operator decides."""

    host: str
    port: int
    workers: int
    admin: bool
    admin_host: str
    admin_port: int
    data_dir: str
    redis_url: str = field(repr=False)
    redis_unchecked: bool
    record: bool
    trust_ledger: bool
    gateway: GatewayOptions
    ledger: LedgerOptions
    endings: EndingsOptions
    records: RecordsOptions
    recorder: RecorderOptions
    workflows: WorkflowOptions
    orchestrate: bool
    database_url: str = field(repr=False)
    models: tuple[ModelEntry, ...]
    router: RouterSettings
    admin_token: str = field(default="", repr=False)
    budgets: tuple[tuple[str, Policy], ...] = ()
    keys: tuple[DeclaredKey, ...] = ()

    @property
    def model_to_try(self) -> str:
        """The name of the model in examples of a chat."""
        return first_that_chats(self.models)


def load_settings(
    config: Path | Written | None,
    environment: Mapping[str, str],
    *,
    models: bool = True,
    admin_token: bool = True,
) -> Settings:
    """From a file, or what was read of one (None: defaults), and the environment, which wins.
    Without `models` model_list is not read: that is for who neither serves nor prices. Without
    `admin_token` nor is master_key, whose variable may be kept from this process. Raises
    ConfigInvalid."""
    written = read_written(config) if isinstance(config, Path) else config
    root = document_of(written) if written is not None else None
    top = {} if root is None else _top_fields(root)
    values = {option.name: _option(option, top, environment) for option in OPTIONS}
    environment = with_variables(top, environment)
    sections = top.get("router_settings"), top.get("litellm_settings")
    router = read_router_settings(*sections, retry_unknown=bool(values["retry_unknown"]))
    timeouts_ms = router.timeout_ms, router.stream_timeout_ms
    served = _models(top, environment, timeouts_ms) if models else ()
    if models:
        check_models(router, {each.name for each in served}, *sections)
    return Settings(
        host=str(values["host"]),
        port=int(values["port"]),
        workers=int(values["workers"]),
        admin=bool(values["admin"]),
        admin_host=str(values["admin_host"]),
        admin_port=int(values["admin_port"]),
        data_dir=str(values["data_dir"]),
        redis_url=str(values["redis_url"]),
        redis_unchecked=bool(values["redis_unchecked"]),
        record=bool(values["record"]),
        trust_ledger=bool(values["trust_ledger"]),
        gateway=GatewayOptions(**_of_part("gateway", values)),
        ledger=LedgerOptions(**_of_part("ledger", values)),
        endings=EndingsOptions(**_of_part("endings", values)),
        records=RecordsOptions(**_of_part("records", values)),
        recorder=RecorderOptions(**_of_recorder(values)),
        workflows=WorkflowOptions(**_of_part("workflows", values)),
        orchestrate=bool(values["orchestrate"]),
        database_url=str(values["database_url"]),
        models=served,
        router=router,
        admin_token=master_key(top.get("general_settings"), environment) if admin_token else "",
        budgets=_budgets(top.get("budgets")),
        keys=_keys(top.get("keys"), environment),
    )


def _models(
    top: dict[str, Value], environment: Mapping[str, str], timeouts_ms: tuple[int, int]
) -> tuple[ModelEntry, ...]:
    """At the prices that the supervisor has looked up, where one has started this process."""
    if LOOKED_UP_VARIABLE not in environment:  # `check` notes what is asked for and not there
        return read_models(top.get("model_list"), environment, timeouts_ms=timeouts_ms)
    file = environment[LOOKED_UP_VARIABLE]
    try:
        looked_up = read_looked_up(Path(file))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigInvalid(f"{file}: {error}: start `comptroller up` again") from None
    return read_models(top.get("model_list"), environment, looked_up, timeouts_ms)


def _top_fields(root: Value) -> dict[str, Value]:
    own = [option.name for option in OPTIONS if not option.section]
    known = ("model_list", "budgets", "keys", *_LITELLM, *SECTIONS, *own)
    return root.known_fields(known, "the file")


def _of_part(part: str, values: dict[str, OptionValue]) -> dict[str, Any]:
    return {each.name: values[each.name] for each in OPTIONS if (each.part or each.section) == part}


def _of_recorder(values: dict[str, OptionValue]) -> dict[str, Any]:
    """Reservations that it brings back live as long as those that workers make."""
    return _of_part("recorder", values) | {"lease_ms": values["lease_ms"]}


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
    plain = value.plain()
    if plain is False and "off" in option.choices:
        plain = "off"  # what YAML 1.1 makes of a bare `off`
    problem = _problem(option, plain)
    if problem:
        raise value.error(problem)
    assert isinstance(plain, bool | int | str)
    return plain


def _from_environment(option: Option, text: str) -> OptionValue:
    value: OptionValue = text
    if isinstance(option.default, bool):
        value = {"true": True, "1": True, "false": False, "0": False}.get(text.lower(), text)
    elif isinstance(option.default, int) and re.fullmatch(r"[0-9]{1,18}", text):
        value = int(text)
    problem = _problem(option, value)
    if problem:
        raise ConfigInvalid(f"{option.variable}: {problem}")
    return value


def _problem(option: Option, value: object) -> str:
    """Why the value does not fit its option; empty if it does."""
    if option.choices:
        known = ", ".join(option.choices)
        return "" if value in option.choices else f"{option.name} must be one of {known}"
    if type(value) is not type(option.default):
        kind = {bool: "true or false", int: "a whole number", str: "a text"}[type(option.default)]
        return f"{option.name} must be {kind}"
    if type(value) is int and not option.least <= value <= option.most:
        return f"{option.name} must be from {option.least} to {option.most}"
    if isinstance(value, str):
        return _text_problem(option, value)
    return ""


def _text_problem(option: Option, value: str) -> str:
    if len(value) > SETTING_CHARS_MAX or (value and not value.isprintable()):
        return f"{option.name} must have at most {SETTING_CHARS_MAX} printable characters"
    if option.name == "redis_url" and value:
        return _redis_url_problem(value)
    if option.name == "clickhouse_url" and not _CLICKHOUSE_URL.fullmatch(value):
        return "clickhouse_url must be http://host:8123 or https://host:8443, or empty"
    if option.name == "database_url" and not _DATABASE_URL.fullmatch(value):
        return "database_url must be postgresql://user:password@host:5432/name, or empty"
    if option.name == "clickhouse_cluster" and not _CLUSTER.fullmatch(value):
        return "clickhouse_cluster is a name of letters, digits, _ and -, or empty"
    return f"{option.name} must not be empty" if option.default and not value else ""


def _redis_url_problem(value: str) -> str:
    try:
        parse_redis_url(value)
    except RedisUrlInvalid as error:
        return str(error)
    return ""


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
    """Names are checked here, where the line and the nearest known one can be told, and where an
    entry that is no limit is not repeated in a message."""
    parts = [value]
    if isinstance(value.content, dict):
        fields = value.known_fields(POLICY_FIELDS, "a budget")
        parts = [fields[name] for name in ("limits", "per_child") if name in fields]
    limits = [limit for part in parts for limit in part.items()]
    for limit in limits:
        limit.known_fields(_LIMIT_FIELDS, "a limit")
    try:
        return parse_policy(value.plain())
    except PolicyInvalid as error:
        wrong = next((limit for limit in limits if not _is_limit(limit)), value)
        raise wrong.error(str(error)) from None


def _is_limit(value: Value) -> bool:
    try:
        parse_policy([value.plain()])
    except PolicyInvalid:
        return False
    return True


def _keys(value: Value | None, environment: Mapping[str, str]) -> tuple[DeclaredKey, ...]:
    keys: list[DeclaredKey] = []
    names: dict[str, int] = {}
    secrets: dict[str, int] = {}
    for item in value.items() if value is not None else ():
        key = _key(item, environment)
        if key.name in names:
            raise item.error(f"key {key.name!r} is there already, in line {names[key.name]}")
        # A key is found by its secret: of two with the same one, the first would be lost.
        if key.secret in secrets:
            raise item.error(
                f"key {key.name!r} has the secret of the key in line {secrets[key.secret]}: "
                "give each its own"
            )
        names[key.name] = secrets[key.secret] = item.line
        keys.append(key)
    return tuple(keys)


def _key(item: Value, environment: Mapping[str, str]) -> DeclaredKey:
    fields = item.known_fields(_KEY_FIELDS, "a key")
    for name in ("name", "scope", "secret"):
        if name not in fields:
            raise item.error(f"a key needs {name}")
    name = fields["name"].text("name")
    if not _KEY_NAME.fullmatch(name):
        raise fields["name"].error("a key's name has letters, digits, . _ - and at most 48 of them")
    secret = fields["secret"].credential("secret", environment)
    if len(secret) < SECRET_CHARS_MIN:
        raise fields["secret"].error(f"a secret has at least {SECRET_CHARS_MIN} characters")
    scope = _scope(fields["scope"].text("scope"), fields["scope"])
    _scope(f"{scope}/key-{name}", fields["scope"])  # the key's own, see budgets.keys.Key
    return DeclaredKey(
        name=name,
        scope=scope,
        secret=secret,
        budget=_policy(fields["budget"]) if "budget" in fields else Policy(),
        models=fields["models"].texts("models") if "models" in fields else (),
        endpoints=fields["endpoints"].texts("endpoints") if "endpoints" in fields else (),
        expires_in_ms=_duration_ms(fields.get("expires_in")),
        agent=fields["agent"].text("agent") if "agent" in fields else "",
        tags=_tags(fields.get("tags")),
        delegates=_boolean(fields.get("delegates")),
        subscopes=_subscopes(fields.get("subscopes")),
    )


def _duration_ms(value: Value | None) -> int | None:
    if value is None:
        return None
    found_ms = duration_ms(str(value.plain()))
    if not found_ms:
        raise value.error("expires_in is a duration, as in 30d, 12h, 10m or 45s, up to 36500d")
    return found_ms


def _boolean(value: Value | None) -> bool:
    if value is None:
        return False
    if not isinstance(value.content, bool):
        raise value.error(f"{value.name} is true or false")
    return value.content


def _subscopes(value: Value | None) -> tuple[str, ...]:
    if value is None:
        return ()
    try:
        return parse_sources(value.plain())
    except SubscopesInvalid as error:
        raise value.error(str(error)) from None


def _tags(value: Value | None) -> dict[str, str]:
    if value is None:
        return {}
    return {name: each.text(f"tag {name}") for name, each in value.fields().items()}
