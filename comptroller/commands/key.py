"""`comptroller key`: keys of a running stack."""

import re
from typing import Annotated, Any

import typer

from comptroller.commands.admin import admin
from comptroller.commands.money import parse_limit
from comptroller.commands.options import AdminUrl, DataDir, Json
from comptroller.commands.outcome import CommandFailed, told
from comptroller.commands.output import Column, field, show_pairs, show_rows, time_text
from comptroller.exits import USAGE_ERROR
from comptroller.variables import KEY_VARIABLE

app = typer.Typer(no_args_is_help=True, help="Keys: who may spend, below which scope.")
Organisation = Annotated[
    str, typer.Option("--organisation", help="Whose key, where several have one of this id.")
]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `key list` has it.")]
_LIST = "comptroller key list"
_CREATE = "comptroller key create --help"
_ROTATE = "comptroller key rotate --help"
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+=~-]{0,63}")  # a segment of a scope


@app.command("create")
@told()
def create_command(  # noqa: PLR0913, PLR0917  # options of a command
    name: Annotated[str, typer.Argument(help="What it is called in lists.")],
    scope: Annotated[str, typer.Option(help="Where it works, as in acme/research.")],
    budget: Annotated[
        list[str] | None, typer.Option(help="A limit of its own: 1.00, 1.00/day, requests=60/hour.")
    ] = None,
    models: Annotated[list[str] | None, typer.Option(help="Pattern of models it may use.")] = None,
    endpoints: Annotated[list[str] | None, typer.Option(help="Pattern of paths.")] = None,
    expires_in: Annotated[str, typer.Option(help="As in 30d, 12h; else never.")] = "",
    agent: Annotated[str, typer.Option(help="Whose calls these are, in the records.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="name=value, in the records.")] = None,
    delegates: Annotated[
        bool, typer.Option("--delegates", help="It may mint narrower keys itself.")
    ] = False,
    subscopes: Annotated[
        bool, typer.Option("--subscopes", help="Its requests may name a child of its scope.")
    ] = False,
    subscope: Annotated[
        list[str] | None,
        typer.Option(help="They name it so: session, user, tag, property:NAME; outermost first."),
    ] = None,
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Mint a key. Its secret is printed now and never again."""
    document: dict[str, Any] = {"name": name, "scope": scope}
    more = {
        "budget": [parse_limit(each, _CREATE) for each in budget or ()],
        "models": models,
        "endpoints": endpoints,
        "expires_in": expires_in,
        "agent": agent,
        "tags": _tags(tag or []),
        "delegates": delegates,
        "subscopes": subscope or subscopes,
    }
    document |= {field_name: value for field_name, value in more.items() if value}
    with admin(admin_url, data_dir, _CREATE) as client:
        _show_secret(client.create_key(document), as_json=as_json)


@app.command("list")
@told()
def list_command(admin_url: AdminUrl = "", data_dir: DataDir = None, as_json: Json = False) -> None:
    """List keys, without secrets."""
    with admin(admin_url, data_dir, _LIST) as client:
        rows = list(client.keys())
    columns = (
        field("id", is_id=True),
        *map(field, ("name", "scope", "status", "models", "agent", "minted_by")),
        Column("expires_at", lambda row: time_text(row.get("expires_at_ms")), spare=1),
    )
    show_rows(rows, columns, as_json=as_json)


@app.command("show")
@told()
def show_command(
    key_id: KeyId,
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Show a key, without its secret."""
    with admin(admin_url, data_dir, _LIST) as client:
        key = client.key(_checked(key_id), organisation)
    show_pairs(_pairs(key), key, as_json=as_json)


@app.command("rotate")
@told()
def rotate_command(
    key_id: KeyId,
    overlap: Annotated[str, typer.Option(help="How long earlier secrets work on.")] = "1h",
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Give a key a new secret. It is printed now and never again."""
    with admin(admin_url, data_dir, _LIST, usage=_ROTATE) as client:
        key = client.rotate_key(_checked(key_id), {"overlap": overlap}, organisation)
    _show_secret(key, as_json=as_json)


@app.command("revoke")
@told()
def revoke_command(
    key_id: KeyId,
    organisation: Organisation = "",
    admin_url: AdminUrl = "",
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Revoke a key for good: it counts at its next call."""
    with admin(admin_url, data_dir, _LIST) as client:
        answer = client.revoke_key(_checked(key_id), organisation)
    show_pairs(_pairs(answer), answer, as_json=as_json)


def _checked(key_id: str) -> str:
    """What could be an id: anything else might name another call."""
    if not _ID.fullmatch(key_id):
        raise CommandFailed(f"{key_id[:60]!r} is no id of a key", _LIST)
    return key_id


def _tags(texts: list[str]) -> dict[str, str]:
    tags = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            message = f"--tag is name=value, not {text[:60]!r}"
            raise CommandFailed(message, _CREATE, USAGE_ERROR)
        tags[name] = value
    return tags


def _show_secret(key: dict[str, Any], *, as_json: bool) -> None:
    show_pairs(_pairs(key), key, as_json=as_json)
    if not as_json:
        typer.echo(f"It is shown this once; programs read it from {KEY_VARIABLE}.", err=True)


def _pairs(key: dict[str, Any]) -> list[tuple[str, object]]:
    """The secret first, times as people read them."""
    names = sorted(key, key=lambda name: name != "key")
    return [
        (name.removesuffix("_ms"), time_text(key[name]) if name.endswith("_ms") else key[name])
        for name in names
    ]
