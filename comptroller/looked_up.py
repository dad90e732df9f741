"""What the lists said when `comptroller up` read its configuration, for the processes that it
starts.

A look-up costs half a second of CPU in each process that makes one. The supervisor makes them all
when it reads its configuration; its parts, and those that are started again later, read the answers
from a file in the data dir, and so all have the same prices until it reads the file again.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from comptroller.catalogued import PriceSource

Key = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the lists say of one model: who bills, and its `model_info` there."""

    provider: str
    info: Mapping[str, object]


LookedUp = Mapping[Key, Listed]
NOTHING_LOOKED_UP: Final[LookedUp] = MappingProxyType({})


def key_of(provider: str, model: str, host: str, said: Mapping[str, object]) -> Key:
    """All that a look-up depends on, see `catalogued.biller`."""
    named = (str(said.get(name, "")) for name in ("base_model", "litellm_provider"))
    return (provider, model, host, *named)


def write_looked_up(path: Path, sources: "Iterable[PriceSource | None]") -> None:
    """Keeps what was looked up for these; of two of one key the later. All of it or nothing: parts
    may be reading. Raises OSError."""
    rows = [
        {
            "key": key_of(each.provider, each.model, each.host, each.said),
            "provider": each.whole.entry.provider,
            "info": dict(each.whole.entry.info),
        }
        for each in sources
        if each is not None and each.whole.entry is not None
    ]
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_text(json.dumps(rows), encoding="utf-8")
    new.replace(path)


def read_looked_up(path: Path) -> LookedUp:
    """As it was written; nothing where there is no such file any more. Raises OSError."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return NOTHING_LOOKED_UP
    return {tuple(row["key"]): Listed(row["provider"], row["info"]) for row in rows}
