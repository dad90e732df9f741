"""What a run measured, kept in `measured.json`, and the tables of docs/clients.md that are made of
it. The run writes both; `make test` checks that they belong together and to the pinned versions.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.clients.catalogue import FOLDER, REFUSAL_STATUSES, Client, clients

MEASURED = FOLDER / "measured.json"
DOCUMENT = FOLDER.parent.parent / "docs" / "clients.md"
END = "<!-- end -->\n"
_HEAD = (
    "| client | version | surface | streamed | requests at a hard stop | with status 400 | set |\n"
    "|---|---|---|---|---|---|---|\n"
)
_QUIET_HEAD = "| client | set |\n|---|---|\n"


class Measured(NamedTuple):
    """One client. `stop`: refusal status, as JSON has its keys, -> requests for one call."""

    version: str
    surface: str
    streamed: bool
    stop: Mapping[str, int]


def measured() -> dict[str, Measured]:
    """By the client's name; of the last run that met it."""
    if not MEASURED.exists():
        return {}
    found = json.loads(MEASURED.read_text(encoding="utf-8"))
    return {name: Measured(**fields) for name, fields in found.items()}


def record(client: Client, found: Measured) -> None:
    """Writes it, and the table."""
    names = [each.name for each in clients()]
    kept = {name: each for name, each in measured().items() if name in names}
    kept[client.name] = found
    documents = {name: kept[name]._asdict() for name in names if name in kept}
    MEASURED.write_text(json.dumps(documents, indent=2) + "\n", encoding="utf-8")
    text = DOCUMENT.read_text(encoding="utf-8")
    DOCUMENT.write_text(with_tables(text), encoding="utf-8")


def with_tables(text: str) -> str:
    """The document with the tables of what is measured and declared now."""
    found = measured()
    rows = [_row(each, found[each.name]) for each in clients() if each.name in found]
    quiet = [_quiet(each) for each in clients() if each.quiet]
    text = _between(text, "<!-- measured -->\n", _HEAD + "".join(rows))
    return _between(text, "<!-- quiet -->\n", _QUIET_HEAD + "".join(quiet))


def _between(text: str, mark: str, inner: str) -> str:
    before, rest = text.split(mark)
    _, end, after = rest.partition(END)
    return f"{before}{mark}{inner}{end}{after}"


def _quiet(client: Client) -> str:
    variables = "<br>".join(f"`{name}={value}`" for name, value in client.quiet.items())
    return f"| {client.title} | {variables} |\n"


def _row(client: Client, found: Measured) -> str:
    stops = [str(found.stop[str(status)]) for status in REFUSAL_STATUSES]
    title = f"[{client.title}]({_link(client.agent)})"
    cells = [
        title,
        f"{client.package} {found.version}",
        f"`{found.surface}`",
        "yes" if found.streamed else "no",
        *stops,
        "<br>".join(f"`{each}`" for each in client.sets),
    ]
    return f"| {' | '.join(cells)} |\n"


def _link(agent: Path) -> str:
    return f"../{agent.relative_to(DOCUMENT.parent.parent)}"
