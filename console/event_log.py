"""Events as the admin API shows them: which are asked for, and where a page or a stream is.

A place is `<organisation>/<epoch>-<seq>-<part>`: each organisation's log has an order of its own,
and there is none across them. A stream over all organisations has a place in each, and a mark that
it knew of no others: those that began since are read from their beginning.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from console.errors import InvalidRequest
from console.parts import Parts

_PLACE = re.compile(r"([^/,]{1,64})/([0-9]{1,9})-([0-9]{1,18})-([0-9]{1,4})")
PART_MAX = 9_999  # a call has far fewer tool calls
NO_OTHERS = "*"


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """An event's place in its organisation's log; before all of them as it is."""

    organisation: str = ""
    epoch: int = 0
    seq: int = 0
    part: int = 0

    @classmethod
    def parse(cls, text: str, param: str) -> "Place":
        """Raises InvalidRequest."""
        match = _PLACE.fullmatch(text)
        if match is None:
            raise InvalidRequest(
                f"{param} is the id of an event, or `next` of a page, as it was given", param=param
            )
        return cls(match[1], int(match[2]), int(match[3]), int(match[4]))

    def __str__(self) -> str:
        return f"{self.organisation}/{self.epoch}-{self.seq}-{self.part}"


def parse_places(text: str, param: str) -> tuple[dict[str, Place], bool]:
    """Places in several organisations, joined by commas, and whether there were no others. Raises
    InvalidRequest."""
    words = text.split(",") if text else []
    no_others = NO_OTHERS in words[-1:]
    places = [Place.parse(each, param) for each in (words[:-1] if no_others else words)]
    return {each.organisation: each for each in places}, no_others


def places_text(places: Iterable[Place], *, no_others: bool) -> str:
    """The same, to be parsed again."""
    return ",".join([*map(str, places), *([NO_OTHERS] if no_others else ())])


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events; empty: all. `scope` means itself and all below it."""

    organisation: str = ""
    scope: str = ""
    run: str = ""
    key: str = ""
    type: str = ""

    def matches(self, event: Mapping[str, Any]) -> bool:
        """The same as the conditions in clickhouse/queries/events_after.sql."""
        return (
            self.organisation in ("", event["org"])
            and (not self.scope or f"{event['scope']}/".startswith(f"{self.scope}/"))
            and self.run in ("", event["run_id"])
            and self.key in ("", event["key_id"])
            and self.type in ("", event["event_type"])
        )


async def read_events(
    parts: Parts, user: str, wanted: Filter, at: Place, limit: int, *, newest_first: bool = False
) -> list[dict[str, Any]]:
    """At most `limit` events beyond a place, as the records' user of an organisation ("": of all),
    each with its `id`."""
    parameters: dict[str, str | int] = {
        "org": wanted.organisation,
        "scope": wanted.scope,
        "run": wanted.run,
        "key": wanted.key,
        "type": wanted.type,
        "at_org": at.organisation,
        "at_epoch": at.epoch,
        "at_seq": at.seq,
        "at_part": at.part,
        "limit": limit,
    }
    name = "events_before" if newest_first else "events_after"
    rows = await parts.records.rows(name, parameters, user)
    return [{"id": str(place_of(row)), **row} for row in rows]


def place_of(event: Mapping[str, Any]) -> Place:
    """Where it is."""
    return Place(event["org"], event["epoch"], event["seq"], event["part"])
