"""`general_settings` and `environment_variables` of a file that comes from LiteLLM."""

import re
from collections.abc import Mapping
from typing import Final

from comptroller.document import Value

MASTER_KEY_CHARS_MIN: Final = 16
_GENERAL = ("master_key",)
_INSTEAD: Final[Mapping[str, str]] = {
    "database_url": "keys and budgets are in the ledger, and what was used in the records",
    "store_model_in_db": "models are in this file",
    "alerting": "GET /metrics of the admin API is there to be watched",
}
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
# Read by processes, not by this file: they would be set too late, or for no one.
_OF_PROCESSES = re.compile(r"COMPTROLLER_.*|.*_PROXY|SSL_.*|PYTHON.*|PATH", re.IGNORECASE)


def with_variables(value: Value | None, environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which `os.environ/NAME` is looked up: as in LiteLLM, what the file sets
    wins. Raises ConfigInvalid."""
    if value is None or value.content is None:
        return environment
    found = dict(environment)
    for name, each in value.fields().items():
        if not _VARIABLE.fullmatch(name):
            raise each.error("environment_variables: a name has letters, digits and _")
        if _OF_PROCESSES.fullmatch(name):
            raise each.error(f"{name} is read from the real environment only: export it there")
        if each.content is not None:
            found[name] = each.resolved(name, environment)
    return found


def master_key(general: Value | None, environment: Mapping[str, str]) -> str:
    """The first admin token, empty where the file has none. Raises ConfigInvalid."""
    if general is None or general.content is None:
        return ""
    for name, value in general.fields().items():
        if name in _INSTEAD and value.content is not None:
            raise value.error(f"{name} is not supported, remove it: {_INSTEAD[name]}")
    fields = general.known_fields((*_GENERAL, *_INSTEAD), "general_settings")
    if "master_key" not in fields or fields["master_key"].content is None:
        return ""
    secret = fields["master_key"].credential("master_key", environment)
    if len(secret) < MASTER_KEY_CHARS_MIN:
        raise fields["master_key"].error(
            f"master_key is the admin token, and has at least {MASTER_KEY_CHARS_MIN} characters"
        )
    return secret
