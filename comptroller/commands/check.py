"""`comptroller check`: what a configuration file declares, without starting anything."""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from comptroller.commands.money import limit_words
from comptroller.commands.options import Config, Json
from comptroller.commands.outcome import CommandFailed, printable, told
from comptroller.commands.output import Column, field, show_rows, text_of
from comptroller.commands.tree import scope_column
from comptroller.exits import USAGE_ERROR

if TYPE_CHECKING:
    from comptroller.settings import Settings


@told()
def check_command(config: Config = None, as_json: Json = False) -> None:
    """Check a configuration without starting it: exits 2 where `up` would not take it."""
    from comptroller.commands.declared import declared, warnings

    settings, missing = loaded(config)
    document = declared(settings)
    doubts = [f"environment variable {name} is not set: `up` needs it" for name in missing]
    doubts += warnings(settings)
    if as_json:
        typer.echo(json.dumps({**document, "warnings": doubts}))
        return
    _show(document)
    for doubt in doubts:
        typer.echo(f"warning: {printable(doubt)}", err=True)
    typer.echo(f"{config or 'the default configuration'}: ok, {len(doubts)} warnings", err=True)


def loaded(config: Path | None) -> tuple["Settings", list[str]]:
    """The settings, and the variables that the file names and nobody has set."""
    from comptroller.document import ConfigInvalid
    from comptroller.settings import load_settings

    environment = _Environment(os.environ)
    try:
        return load_settings(config, environment), environment.missing
    except ConfigInvalid as error:
        again = f"comptroller check --config {config}" if config else "comptroller doctor"
        unset = ", ".join(environment.missing)  # it may be a stand-in that was refused
        message = f"{error} (not set in this environment: {unset})" if unset else str(error)
        raise CommandFailed(message, again, USAGE_ERROR) from None


class _Environment(Mapping[str, str]):
    """The environment, with a stand-in for each variable that a file names in vain: one that
    passes as a URL and as a secret, so that the rest of the file can be checked, too."""

    def __init__(self, real: Mapping[str, str]) -> None:
        self._real = real
        self.missing: list[str] = []

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401, ARG002  # see Mapping
        """What `os.environ/NAME` in the file resolves to."""
        return self[name]

    def __getitem__(self, name: str) -> str:
        value = self._real.get(name)
        if value:
            return value
        if name not in self.missing:
            self.missing.append(name)
        return f"https://unset.invalid/{name}"

    def __contains__(self, name: object) -> bool:
        return name in self._real

    def __iter__(self) -> Iterator[str]:
        return iter(self._real)

    def __len__(self) -> int:
        return len(self._real)


def _show(document: Mapping[str, Any]) -> None:
    models = tuple(
        field(name, title, is_number=is_number)
        for name, title, is_number in (
            ("name", "model", False),
            ("served_by", "served by", False),
            ("input_usd_per_mtok", "input per 1M", True),
            ("output_usd_per_mtok", "output per 1M", True),
            ("max_input_tokens", "context", True),
            ("max_output_tokens", "output", True),
        )
    )
    keys = (*map(field, ("name", "scope", "models", "agent")), _limits("budget", "budget"))
    show_rows(document["models"], models, as_json=False)
    if document["budgets"]:
        rows = sorted(document["budgets"], key=lambda row: str(row["scope"]).split("/"))
        show_rows(rows, (scope_column(rows, "budget"), *_BUDGET), as_json=False)
    if document["keys"]:
        show_rows(document["keys"], keys, as_json=False)


def _limits(name: str, title: str) -> Column:
    return Column(title, lambda row: text_of([limit_words(each) for each in row.get(name, ())]))


_BUDGET = (
    _limits("limits", "limits"),
    _limits("per_child", "each child"),
    field("on_exceed"),
    field("payloads"),
)
