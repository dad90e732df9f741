"""What a chaos run leaves behind, as four parties tell it: the records, the ledger, the provider
and the clients; and what the records say of each request.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property

from tests.chaos.clients import Sent
from tests.chaos.eyes import Look, Seen
from tests.chaos.records import Balance, Event
from tests.chaos.upstream import Served

ASKED = "llm_request"
ENDINGS = ("llm_response", "reservation_expired")
CORRECTED = "correction"


@dataclass(slots=True)
class Account:
    """One request by its events."""

    asked: list[Event] = field(default_factory=list)
    ended: list[Event] = field(default_factory=list)
    corrected: list[Event] = field(default_factory=list)

    @property
    def charged_nusd(self) -> int:
        """What it came to in the end."""
        return sum(each.charged_nusd for each in (*self.ended, *self.corrected))

    @property
    def last(self) -> Event:
        """The event that says how it ended."""
        return [*self.ended, *self.corrected][-1]


@dataclass(frozen=True)
class Evidence:
    """Of all organisations. `events` are in the order of the log; `looks` are the ledger at rest,
    `running` the requests whose name it still holds then for one that runs; `numbers` has the
    client's number of each request by the gateway's id; `served` is the provider's book, `sent`
    the clients'."""

    events: dict[str, list[Event]]
    looks: dict[str, Look]
    running: dict[str, list[str]]
    balances: dict[str, dict[str, Balance]]
    numbers: dict[str, int]
    served: list[Served]
    sent: list[Sent]
    seen: Seen

    @cached_property
    def accounts(self) -> dict[str, Account]:
        """By request id."""
        found: dict[str, Account] = {}
        for event in self.all_events():
            if event.kind == ASKED:
                found.setdefault(event.request_id, Account()).asked.append(event)
            elif event.kind in ENDINGS:
                found.setdefault(event.request_id, Account()).ended.append(event)
            elif event.kind == CORRECTED:
                found.setdefault(event.request_id, Account()).corrected.append(event)
        return found

    @cached_property
    def ids(self) -> dict[int, list[str]]:
        """The gateway's requests by the client's number."""
        found: dict[int, list[str]] = defaultdict(list)
        for request_id, number in self.numbers.items():
            found[number].append(request_id)
        return dict(found)

    @cached_property
    def calls(self) -> dict[int, list[Served]]:
        """The provider's calls by the client's number."""
        found: dict[int, list[Served]] = defaultdict(list)
        for served in self.served:
            found[served.number].append(served)
        return dict(found)

    def all_events(self) -> Iterable[Event]:
        """Of all organisations."""
        return (event for events in self.events.values() for event in events)

    def accounts_of(self, number: int) -> list[Account]:
        """What became of a client's request; several where it was sent again."""
        return [self.accounts[id_] for id_ in self.ids.get(number, ()) if id_ in self.accounts]
