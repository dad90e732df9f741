"""`comptroller snippet`: how an SDK is pointed at this gateway. Each text is a file in
`comptroller/snippets/`, its first line says what it is for; a test runs them."""

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from comptroller.commands.gateway import base_url
from comptroller.commands.options import BaseUrl, Config, DataDir, Json
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import field, show_pairs, show_rows
from comptroller.commands.records import settings_of
from comptroller.exits import USAGE_ERROR

_SUFFIX = ".txt"


@told()
def snippet_command(
    name: Annotated[str, typer.Argument(help="Which; without it: what there is.")] = "",
    model: Annotated[str, typer.Option(help="The model that it asks.")] = "",
    base: BaseUrl = "",
    config: Config = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Print code that asks this gateway; the key is read from COMPTROLLER_KEY."""
    snippets = load_snippets()
    if not name:
        rows = [{"name": each, "for": _purpose(text)} for each, text in snippets.items()]
        show_rows(rows, (field("name"), field("for")), as_json=as_json)
        return
    if name not in snippets:
        known = ", ".join(snippets)
        raise CommandFailed(
            f"there is no snippet {name!r}; there are {known}", "comptroller snippet", USAGE_ERROR
        )
    text = filled(
        snippets[name], base_url(base, config, data_dir), model or _first_model(config, data_dir)
    )
    if as_json:
        show_pairs((), {"name": name, "text": text}, as_json=True)
    else:
        typer.echo(text, nl=False)


def load_snippets() -> dict[str, str]:
    """Name -> text with its two marks, by name."""
    files = (resources.files("comptroller") / "snippets").iterdir()
    return {
        each.name.removesuffix(_SUFFIX): each.read_text(encoding="utf-8")
        for each in sorted(files, key=lambda file: file.name)
        if each.name.endswith(_SUFFIX)
    }


def filled(text: str, url: str, model: str) -> str:
    """The snippet for this gateway. The model stands inside quotes of several languages: one that
    could end them is refused. Raises CommandFailed (2)."""
    if not model.isprintable() or set(model) & set("\"'`$\\@"):
        raise CommandFailed(
            f"{model[:60]!r} is no name of a model", "comptroller snippet", USAGE_ERROR
        )
    return text.replace("@BASE_URL@", url).replace("@MODEL@", model)


def _purpose(text: str) -> str:
    return text.partition("\n")[0].lstrip("#/ ")


def _first_model(config: Path | None, data_dir: str | None) -> str:
    return settings_of(config, data_dir, models=True).model_to_try
