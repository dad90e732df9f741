"""What tests of recosts hold in their hands: a tariff that they change, calls that were charged
wrongly, every page of a recost, and everything that adds charges up."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from console.charges import Charged, NotPriced, Owed
from tests.console.desk import Console
from tests.recorder.crashing import RecordsServer
from tests.recorder.rig import Caller

CALLS = 20
RIGHT_NUSD = 333
SPAN = {"since_ms": 0}


@dataclass
class Prices:
    """A tariff that a test changes: what a request costs whose version it is; None: unknown."""

    nusd: int | None = RIGHT_NUSD
    version: str = "right"
    asked: list[Charged] = field(default_factory=list)

    def owed(self, used: Charged) -> Owed:
        """See console.charges.Tariff."""
        self.asked.append(used)
        if self.nusd is None:
            raise NotPriced("nobody knows")
        return Owed(self.nusd, self.version)


async def pages(console: Console, wanted: Mapping[str, Any], **more: Any) -> list[dict[str, Any]]:
    """Every page."""
    found: list[dict[str, Any]] = []
    place: dict[str, Any] = {}
    while not found or place["after"]:
        body = {**SPAN, **wanted, **place}
        found.append(await console.done("POST", "/v1/prices/recost", body, **more))
        place = {"after": found[-1]["next"]}
    return found


async def booked(console: Console, caller: Caller, **more: Any) -> int:
    """How many corrections a recost of all that this caller did has booked."""
    wanted = {"organisation": caller.organisation, "book": True, **more}
    return sum(page["booked"] for page in await pages(console, wanted))


async def wrongly_charged(caller: Caller, calls: int = CALLS) -> None:
    """So many calls, the nth for n nano-dollars."""
    for n in range(calls):
        id_ = caller.desk.session.new_id()
        await caller.reserve(id_)
        await caller.settle(id_, n + 1)


async def sums(records: RecordsServer, organisation: str) -> dict[str, int]:
    """What an organisation has spent by everything that adds it up."""
    store = records.store()
    queries = {
        "events": "sum(charged_nusd) FROM comptroller.events WHERE event_type != 'llm_request' AND",
        "hourly": "sum(charged_nusd) FROM comptroller.spend_hourly WHERE",
        "daily": "sum(charged_nusd) FROM comptroller.spend_daily WHERE",
        "usage": "sum(charged_nusd) FROM comptroller.usage WHERE model = 'small-1' AND",
        "requests": "sum(requests) FROM comptroller.usage WHERE",
        "tokens": "sum(input_tokens + output_tokens) FROM comptroller.usage WHERE",
    }
    found: dict[str, int] = {}
    for name, query in queries.items():
        line = await store.select(f"SELECT {query} org = {{org:String}}", {"org": organisation})
        found[name] = int(json.loads(line)[0])
    await store.close()
    return found


async def charges(records: RecordsServer, organisation: str) -> list[int]:
    """What was charged for each request, by all of its events."""
    store = records.store()
    lines = await store.select(
        "SELECT sum(charged_nusd) FROM comptroller.events WHERE org = {org:String} AND event_type "
        "IN ('llm_response', 'correction') GROUP BY request_id",
        {"org": organisation},
    )
    await store.close()
    return [int(json.loads(line)[0]) for line in lines.splitlines()]


def agreed(nusd: int, calls: int = CALLS) -> dict[str, int]:
    """Sums that all say this much, and count each call and its tokens once."""
    money = dict.fromkeys(("events", "hourly", "daily", "usage"), nusd)
    return {**money, "requests": calls, "tokens": calls * 17}
