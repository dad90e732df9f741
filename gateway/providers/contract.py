"""What the gateway needs to know of a provider's API, apart from wire formats."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.request import Headers


@dataclass(frozen=True, slots=True)
class Wire:
    """A dialect that a server speaks. `target`: its path below the base URL; `cap_field`: the
    output cap that the server obeys, "" where nothing is produced."""

    endpoint: str
    target: bytes
    cap_field: str


@dataclass(frozen=True, slots=True)
class Provider:
    """An API, and everyone who serves it.

    `names`: LiteLLM's prefixes; those in `own_servers` have no server of their own, and need
    `api_base`. `base`: the URL where that is absent. `headers`: those of every request, for an API
    key that may be empty. `wires`: what a host speaks for a model of which `model_info` says this,
    at least one; raises ValueError for what it says and nobody can serve. `version_path`: what
    the path of a base URL ends with, also where somebody has left it out; "" for none.
    """

    names: tuple[str, ...]
    own_servers: frozenset[str]
    base: str
    headers: Callable[[str], Headers]
    wires: Callable[[str, Mapping[str, Any]], tuple[Wire, ...]]
    version_path: str = ""

    def path_of(self, base_path: str) -> str:
        """The path of a base URL as it is used: without a slash at its end."""
        path = base_path.rstrip("/")
        return path if path.endswith(self.version_path) else path + self.version_path
