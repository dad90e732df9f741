"""Follows the log as it is recorded: what a live stream sends next.

The records tell nobody that they grew. The ledger's head tells cheaply: while an organisation's
last event is the one that was seen, its records are not asked.
"""

from console.errors import InvalidRequest
from console.event_log import (
    PART_MAX,
    Filter,
    Place,
    parse_places,
    place_of,
    places_text,
    read_events,
)
from console.feeds import Told
from console.parts import Parts
from console.token_store import Token

ROWS_MAX = 500


class Following:
    """One stream's places, and what came after them."""

    def __init__(self, parts: Parts, caller: Token, wanted: Filter) -> None:
        self._parts = parts
        self._user = caller.organisation
        self._wanted = wanted
        self._places: dict[str, Place] = {}

    async def begin(self, resumed_at: str, param: str) -> None:
        """After these places; where none is named, at the end of the log as it is now, or at the
        beginning of one that began since. Raises InvalidRequest."""
        resumed, no_others = parse_places(resumed_at, param)
        for organisation in await self._organisations():
            place = resumed.get(organisation)
            if place is None and no_others:
                place = Place(organisation)
            elif place is None:
                epoch, seq = await self._parts.overview.head(organisation)
                place = Place(organisation, epoch, seq, PART_MAX)
            self._places[organisation] = place

    async def _organisations(self) -> list[str]:
        if self._wanted.organisation:
            return [self._wanted.organisation]
        names = await self._parts.overview.organisations()
        most = self._parts.options.stream_organisations_max
        if len(names) > most:
            raise InvalidRequest(
                f"one stream follows at most {most} organisations: name one", param="organisation"
            )
        return names

    @property
    def place(self) -> str:
        """Where a client that comes back goes on."""
        return places_text(self._places.values(), no_others=not self._wanted.organisation)

    @property
    def is_over(self) -> bool:
        """The log has no end."""
        return False

    @property
    def poll_ms(self) -> int:
        """How long to wait where there was nothing."""
        return self._parts.options.stream_poll_ms

    async def more(self) -> list[Told]:
        """Events that are recorded by now, each with the place after it."""
        found: list[Told] = []
        for organisation in await self._organisations():
            place = self._places.setdefault(organisation, Place(organisation))
            if await self._parts.overview.head(organisation) > (place.epoch, place.seq):
                found += await self._read(place)
        return found

    async def _read(self, place: Place) -> list[Told]:
        """All events of one organisation, because the place must move on over others, too."""
        everything = Filter(organisation=place.organisation)
        events = await read_events(self._parts, self._user, everything, place, ROWS_MAX)
        found = []
        for event in events:
            self._places[place.organisation] = place_of(event)
            if self._wanted.matches(event):
                found.append(Told(self.place, event))
        return found
