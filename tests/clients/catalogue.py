"""The clients: a folder each, with what to install, the agent, and `client.toml`. To add a client
is to add a folder.

    title = "what the table calls it"
    package = "the pinned package whose version the table names"
    sets = ["how it is told base URL and key", ...]  # where it does not read the variables
    [set]       # variables that a user sets: {gateway}, {key} and {model} are filled in
    [quiet]     # variables that turn off what it would send to others
    [stop]      # requests for one refused call, by refusal status, where it is not one
"""

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
REFUSAL_STATUSES = (402, 400)
AGENTS = ("agent.py", "agent.mjs", "agent.sh")
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*(?:\[[\w,-]+\])?)==(\S+)$")
_EXACT = re.compile(r"^\d+\.\d+\.\d+[\w.+-]*$")


@dataclass(frozen=True, slots=True)
class Client:
    """One client. `stop`: refusal status -> requests that it sends for one refused call."""

    name: str
    title: str
    package: str
    pins: Mapping[str, str]
    variables: Mapping[str, str]
    quiet: Mapping[str, str]
    sets: tuple[str, ...]
    stop: Mapping[int, int]

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return FOLDER / self.name

    @property
    def requirements(self) -> Path:
        """requirements.txt or package.json."""
        python = self.folder / "requirements.txt"
        return python if python.exists() else self.folder / "package.json"

    @property
    def agent(self) -> Path:
        """The script that users copy."""
        (found,) = (self.folder / each for each in AGENTS if (self.folder / each).exists())
        return found

    @property
    def version(self) -> str:
        """Of its package, as pinned."""
        return self.pins[self.package]


def clients() -> list[Client]:
    """All of them, by name."""
    return [_read(path.parent) for path in sorted(FOLDER.glob("*/client.toml"))]


def _read(folder: Path) -> Client:
    document = tomllib.loads((folder / "client.toml").read_text(encoding="utf-8"))
    stop = {int(status): count for status, count in document.get("stop", {}).items()}
    variables = document["set"]
    return Client(
        name=folder.name,
        title=document["title"],
        package=document["package"],
        pins=_pins(folder),
        variables=variables,
        quiet=document.get("quiet", {}),
        sets=tuple(document.get("sets", variables)),
        stop={status: stop.get(status, 1) for status in REFUSAL_STATUSES},
    )


def _pins(folder: Path) -> dict[str, str]:
    """Package -> version. Raises ValueError where one is not exact."""
    python = folder / "requirements.txt"
    if python.exists():
        lines = python.read_text(encoding="utf-8").split()
        found = [_PIN.match(line) for line in lines]
        pins = {each[1].partition("[")[0]: each[2] for each in found if each}
        exact = all(found)
    else:
        pins = json.loads((folder / "package.json").read_text(encoding="utf-8"))["dependencies"]
        exact = all(_EXACT.match(version) for version in pins.values())
    if not exact:
        raise ValueError(f"{folder.name}: every requirement needs an exact version")
    return pins
