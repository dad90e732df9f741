"""`general_settings` and `environment_variables` of a file that comes from LiteLLM."""

import re
from collections.abc import Iterator, Mapping
from typing import Final

from comptroller.document import Value
from comptroller.translated import BEARER_VARIABLE, PARAMS

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
_VARIABLES = "environment_variables"
_READ_BY_NAME = (BEARER_VARIABLE,)
"""Which a file need not name: see `comptroller.translated.identity`."""
_HINTED = ("api_key", "api_base", *PARAMS)


def with_variables(top: Mapping[str, Value], environment: Mapping[str, str]) -> Mapping[str, str]:
    """The environment in which `os.environ/NAME` is looked up in a file of these sections: as in
    LiteLLM, what the file sets wins. Raises ConfigInvalid, also for what nothing would read: in
    LiteLLM's own process such a variable chooses who pays."""
    value = top.get(_VARIABLES)
    if value is None or value.content is None:
        return environment
    said: dict[str, Value] = {}
    others = [section for name, section in top.items() if name != _VARIABLES]
    read = {*_READ_BY_NAME, *(name for section in others for name in section.variables())}
    for name, each in value.fields().items():
        if not _VARIABLE.fullmatch(name):
            raise each.error("environment_variables: a name has letters, digits and _")
        if _OF_PROCESSES.fullmatch(name):
            raise each.error(f"{name} is read from the real environment only: export it there")
        if each.content is None:
            continue
        if name not in read:
            raise each.error(
                f"{name} is named nowhere else in this file, and is read by nobody: write it into "
                f"litellm_params of each entry that needs it, {_example(name)}, or remove it"
            )
        said[name] = each
    return _Overlaid(said, environment)


class _Overlaid(Mapping[str, str]):
    """What the file says, over the environment: no copy of that, since it may answer for variables
    that it does not list (`comptroller check`). What the file says is looked up when it is asked
    for: a process may lack what another one reads, as the admin token."""

    def __init__(self, said: Mapping[str, Value], below: Mapping[str, str]) -> None:
        self._said = said
        self._below = below

    def __getitem__(self, name: str) -> str:
        said = self._said.get(name)
        return self._below[name] if said is None else said.resolved(name, self._below)

    def __contains__(self, name: object) -> bool:
        return name in self._said or name in self._below

    def __iter__(self) -> Iterator[str]:
        return iter({**self._below, **self._said})

    def __len__(self) -> int:
        return len({*self._below, *self._said})


def _example(name: str) -> str:
    """How an entry names it: for names that say which field they are meant for, with that."""
    field = next((each for each in _HINTED if name.lower().endswith(each)), "")
    return f"as in {field}: os.environ/{name}" if field else f"as os.environ/{name}"


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
