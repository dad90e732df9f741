"""`comptroller prices`: what models cost, what a request has cost, and where lists differ."""

import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.commands.options import Config, Json
from comptroller.commands.outcome import CommandFailed, printable, told
from comptroller.commands.output import field, show_pairs, show_rows
from comptroller.exits import FAILED, USAGE_ERROR

if TYPE_CHECKING:
    from comptroller.document import Value
    from comptroller.price_documents import Asked
    from pricing.catalog import Catalog, Disagreement, Entry

app = typer.Typer(no_args_is_help=True, help="Prices: of models, of requests, and their sources.")

INPUT_BYTES_MAX = 64 * 2**20
Provider = Annotated[str, typer.Option(help="Who sells it, as in openai, bedrock, openrouter.")]
At = Annotated[str, typer.Option(help="The price at a date or time in UTC; else now.")]
_SHOW = "comptroller prices show --help"
_COST = "comptroller prices cost --help"
_DIFF = "comptroller prices diff --help"
_ASKED = (
    *("provider", "model", "usage", "service_tier", "batch", "region", "at", "api", "output"),
    "model_info",
)


@app.command("show")
@told()
def show_command(
    model: Annotated[str, typer.Argument(help="As in gpt-5-mini or bedrock/amazon.nova-pro-v1:0.")],
    provider: Provider = "",
    at: At = "",
    as_json: Json = False,
) -> None:
    """What a model costs, according to whom, and since when that is known."""
    from comptroller.catalogued import installed
    from comptroller.price_documents import entry_document

    entry = _found(installed(), provider, model, _moment_ms(at, _SHOW))
    document = entry_document(entry)
    known = {**document, "confirmed_on": document["confirmed_on"] or "no list says when"}
    pairs = [(name, known[name]) for name in _SHOWN]
    show_pairs(pairs, document, as_json=as_json)
    if not as_json:
        show_rows(list(_prices(document["model_info"])), _PRICES, as_json=False)
        for each in entry.disagreements:
            said = ", ".join(f"{who}: {value}" for who, value in each.said)
            typer.echo(printable(f"{each.key}: {said}; {each.taken} counts ({each.because})"))
        _say_when_alone(installed())


@app.command("cost")
@told()
def cost_command(
    source: Annotated[
        str, typer.Argument(metavar="FILE", help="One request as JSON; `-` reads stdin.")
    ] = "-",
    as_json: Json = False,
) -> None:
    """What a request has cost, from the provider's own usage object: {provider, model, usage,
    service_tier?, batch?, region?, at?, api?, output?, model_info?}."""
    from comptroller.catalogued import installed
    from comptroller.price_documents import cost_document
    from pricing import PriceInvalid, UsageInvalid
    from pricing.catalog import ModelUnknown

    asked = _asked(_read(source))
    try:
        document = cost_document(asked, installed())
    except ModelUnknown as error:
        raise CommandFailed(str(error), _closest(error.nearest, asked.provider)) from None
    except (PriceInvalid, UsageInvalid) as error:
        again = f"comptroller prices show {asked.provider}/{asked.model}"
        raise CommandFailed(str(error), again) from None
    show_pairs([(name, document[name]) for name in _COSTS], document, as_json=as_json)


@app.command("check")
@told()
def check_command(config: Config = None, as_json: Json = False) -> None:
    """The prices of a configuration's models: which have none, are below the lists, differ between
    lists, are old or free. Exits 1 where one has none."""
    from comptroller.catalogued import installed, now_ms
    from comptroller.price_documents import FAILING, checked

    rows = list(checked(_model_list(config), os.environ, installed(), now_ms()))
    show_rows(rows, _CHECKED, as_json=as_json)
    _say_when_alone(installed())
    failing = [row["model"] for row in rows if row["state"] in FAILING]
    if failing:
        names = ", ".join(failing)
        raise CommandFailed(
            f"no usable price: {names}", f"comptroller check --config {config}", FAILED
        )


@app.command("diff")
@told()
def diff_command(
    provider: Provider = "",
    at: At = "",
    as_json: Json = False,
) -> None:
    """Where the two lists differ, and which value counts."""
    from comptroller.catalogued import installed
    from pricing.catalog import DEARER, INSTALL_SECOND_OPINION

    catalog, at_ms = installed(), _moment_ms(at, _DIFF)
    if catalog.second is None:
        raise CommandFailed(
            "only one list is installed: nothing to compare", INSTALL_SECOND_OPINION
        )
    rows = (
        {"provider": entry.provider, "model": entry.model, **_difference(each)}
        for entry in catalog.entries(provider, at_ms)
        for each in entry.disagreements
        if each.because == DEARER
    )
    show_rows(rows, _DIFFERENCES, as_json=as_json)


def _difference(each: "Disagreement") -> dict[str, object]:
    return {"key": each.key, **dict(each.said), "taken": each.taken}


def _found(catalog: "Catalog", provider: str, model: str, at_ms: int) -> "Entry":
    """Of `model`, or of `<provider>/<model>`. Raises CommandFailed."""
    from pricing import PriceInvalid
    from pricing.catalog import ModelUnknown

    try:
        return catalog.find(provider, model, at_ms) if provider else catalog.search(model, at_ms)
    except ModelUnknown as error:
        raise CommandFailed(str(error), _closest(error.nearest, provider)) from None
    except PriceInvalid as error:
        raise CommandFailed(str(error), _SHOW) from None


def _closest(nearest: tuple[str, ...], provider: str) -> str:
    """The command for the nearest known name."""
    if not nearest:
        return _SHOW
    owner = f" --provider {provider}" if provider else ""
    return f"comptroller prices show {nearest[0]}{owner}"


def _moment_ms(text: str, help_command: str) -> int:
    from comptroller.catalogued import now_ms

    if not text:
        return now_ms()
    try:
        moment = datetime.fromisoformat(text)
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return int(aware.astimezone(UTC).timestamp() * 1000)
    except (ValueError, OverflowError):
        message = f"--at is a date or time as 2026-11-28 or 2026-11-28T14:00: {text!r}"
        raise CommandFailed(message, help_command, USAGE_ERROR) from None


def _read(source: str) -> object:
    try:
        if source == "-":
            content = sys.stdin.buffer.read(INPUT_BYTES_MAX + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(INPUT_BYTES_MAX + 1)
        document = json.loads(content) if len(content) <= INPUT_BYTES_MAX else None
    except (OSError, ValueError, RecursionError) as error:
        raise CommandFailed(f"{source}: {error}", _COST, USAGE_ERROR) from None
    if document is None:
        message = f"{source} is null, or larger than {INPUT_BYTES_MAX} bytes"
        raise CommandFailed(message, _COST, USAGE_ERROR)
    return document


def _asked(document: object) -> "Asked":
    """The request, each field of its kind and none that is not known. Raises CommandFailed (2)."""
    from comptroller.price_documents import Asked

    if not isinstance(document, dict):
        raise CommandFailed("the input is a JSON object", _COST, USAGE_ERROR)
    unknown = ", ".join(sorted(document.keys() - set(_ASKED)))
    if unknown:
        message = f"not understood: {unknown}; known: {', '.join(_ASKED)}"
        raise CommandFailed(message, _COST, USAGE_ERROR)
    usage = document.get("usage")
    if not isinstance(usage, dict):
        raise CommandFailed("usage is the provider's usage object", _COST, USAGE_ERROR)
    info = document.get("model_info", {})
    if not isinstance(info, dict):
        raise CommandFailed("model_info is an object, as in model_list", _COST, USAGE_ERROR)
    batch = document.get("batch") or False
    if not isinstance(batch, bool):
        raise CommandFailed("batch is true or false", _COST, USAGE_ERROR)
    return Asked(
        provider=_text(document, "provider", needed=True),
        model=_text(document, "model", needed=True),
        usage=usage,
        at_ms=_moment_ms(_text(document, "at"), _COST),
        service_tier=_text(document, "service_tier"),
        batch=batch,
        region=_text(document, "region"),
        api=_text(document, "api") or None,
        output=document.get("output"),
        model_info=info,
    )


def _text(document: dict[str, Any], name: str, *, needed: bool = False) -> str:
    value = document.get(name)
    if value is None and not needed:
        return ""
    if not isinstance(value, str) or (needed and not value):
        raise CommandFailed(f"{name} is a text", _COST, USAGE_ERROR)
    return value


def _model_list(config: Path | None) -> "Value":
    from comptroller.document import ConfigInvalid, read_document

    if config is None:
        message = "name the configuration whose prices to check"
        raise CommandFailed(message, "comptroller prices check --config FILE", USAGE_ERROR)
    try:
        root = read_document(config)
        model_list = root.fields().get("model_list") if root is not None else None
        if model_list is None:
            message = f"{config} has no model_list: the demo models have their own prices"
            raise CommandFailed(message, "comptroller check", USAGE_ERROR)
        model_list.items()
    except ConfigInvalid as error:
        raise CommandFailed(
            str(error), f"comptroller check --config {config}", USAGE_ERROR
        ) from None
    return model_list


def _say_when_alone(catalog: "Catalog") -> None:
    from pricing.catalog import INSTALL_SECOND_OPINION

    if catalog.second is None:
        typer.echo(
            f"no second opinion: LiteLLM's prices are not installed; {INSTALL_SECOND_OPINION}",
            err=True,
        )


def _prices(info: dict[str, object]) -> Iterator[dict[str, object]]:
    """Each price as people quote it: of a million tokens, or of one of whatever it is."""
    from pricing.catalog import quoted

    for key, value in info.items():
        for name, usd, unit in quoted(key, value):
            yield {"price": name, "usd": usd, "per": unit}


_SHOWN = ("provider", "model", "source", "confirmed_on", "stale", "unusable", "changes", "notes")
_COSTS = ("cost_usd", "cost_nusd", "meters", "provider", "model", "price_version", "source")
_PRICES = (field("price"), field("usd", "USD", is_number=True), field("per"))
_CHECKED = (field("model"), field("served_by", "served by"), field("state"), field("says"))
_DIFFERENCES = (
    *(field(name) for name in ("provider", "model", "key", "genai-prices", "litellm", "taken")),
)
