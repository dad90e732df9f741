"""The judge of chaos runs finds what it is there to find, and nothing where all is right."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.budgets.harness import Head
from tests.chaos.clients import Sent, Told
from tests.chaos.evidence import Evidence
from tests.chaos.eyes import Look, Seen
from tests.chaos.faults import KILL, PARTS, SUPERVISOR, planned
from tests.chaos.judge import CHECKS, judged
from tests.chaos.records import Balance, Event
from tests.chaos.stage import Options
from tests.chaos.upstream import Served

COUNTER, MINUTE = "c:1.0:0", "c:1.1:60"
HELD, COST = 90_000, 50_000
RESPONSE = {"usage_source": "provider", "charged_nusd": COST}


def asked(seq: int, id_: str, held: int = HELD, epoch: int = 1) -> Event:
    """A reservation."""
    counters = ((COUNTER, 1, held, 0), (MINUTE, 3, 1, 0))
    return Event(epoch, seq, 1_000, "llm_request", id_, output_tokens_max=40, counters=counters)


def ended(seq: int, id_: str, kind: str = "llm_response", held: int = HELD, **more: Any) -> Event:
    """How it ended, at its true cost unless `more` says otherwise."""
    told = {**RESPONSE, **more}
    epoch = told.pop("epoch", 1)
    counters = ((COUNTER, 1, held, told["charged_nusd"]), (MINUTE, 3, int(held > 0), int(held > 0)))
    return Event(epoch, seq, 2_000, kind, id_, counters=counters, **told)


def served(number: int, **more: Any) -> Served:
    """A call of ten input tokens and twenty of output, as the provider said itself."""
    told = {"tokens": (10, 20), "reported": (10, 20), "begun_ms": 1_500, "ended_ms": 1_900, **more}
    return Served(number=number, mood="", model="plain", stream=True, cap=40, **told)


def right() -> dict[str, Any]:
    """Two requests, the second with a name and sent twice; the counter of a minute is gone."""
    head = Head(1, 4, 2_000, 1, 0, 0)
    look = Look(head, {COUNTER: (2 * COST, 0, 0)}, {"1.0": 150_000, "1.1": 5}, 0, 0, 0, 0)
    sent = [
        Sent(0, "nightly", "", 1, [Told("200", "a", COST)]),
        Sent(1, "dev", "name", 2, [Told("200", "b", COST), Told("409")]),
    ]
    return {
        "events": {"acme": [asked(1, "a"), ended(2, "a"), asked(3, "b"), ended(4, "b")]},
        "looks": {"acme": look},
        "running": {"acme": []},
        "balances": {"acme": {MINUTE: Balance(MINUTE, 1, 4, 2)}},
        "numbers": {"a": 0, "b": 1},
        "served": [served(0), served(1)],
        "sent": sent,
        "seen": Seen(excesses={"acme": {}}),
    }


def look_with(parts: dict[str, Any], **more: Any) -> None:
    """The ledger at rest, otherwise."""
    look: Look = parts["looks"]["acme"]
    fields = {name: getattr(look, name) for name in Look.__dataclass_fields__}
    parts["looks"]["acme"] = Look(**{**fields, **more})


def event_with(parts: dict[str, Any], at: int, **more: Any) -> None:
    """One event, otherwise."""
    events = parts["events"]["acme"]
    events[at] = msgspec.structs.replace(events[at], **more)


def lease_left(parts: dict[str, Any]) -> None:
    look_with(parts, leases=1)


def reserved_left(parts: dict[str, Any]) -> None:
    look_with(parts, counters={COUNTER: (2 * COST, 5, 0)})


def name_held(parts: dict[str, Any]) -> None:
    parts["running"]["acme"].append("b")


def ledger_counts_more(parts: dict[str, Any]) -> None:
    look_with(parts, counters={COUNTER: (2 * COST + 1, 0, 0)})


def balance_is_wrong(parts: dict[str, Any]) -> None:
    parts["balances"]["acme"][MINUTE] = Balance(MINUTE, 1, 4, 3)


def counter_vanished(parts: dict[str, Any]) -> None:
    parts["balances"]["acme"].clear()


def total_vanished(parts: dict[str, Any]) -> None:
    look_with(parts, counters={}, head=Head(2, 4, 120_000, 1, 0, 0))


def grant_above(parts: dict[str, Any]) -> None:
    look_with(parts, limits={"1.0": COST + HELD - 1, "1.1": 5})


def overrun_unlabelled(parts: dict[str, Any]) -> None:
    parts["events"]["acme"][3] = ended(4, "b", charged_nusd=HELD + 1)


def above_unexplained(parts: dict[str, Any]) -> None:
    parts["seen"].excesses["acme"][COUNTER] = 1


def seen_wrong(parts: dict[str, Any]) -> None:
    parts["seen"].wrong.append("the head went back")


def ended_twice(parts: dict[str, Any]) -> None:
    parts["events"]["acme"].append(ended(5, "b", held=0))


def never_ended(parts: dict[str, Any]) -> None:
    del parts["events"]["acme"][3]


def corrected_unexpired(parts: dict[str, Any]) -> None:
    parts["events"]["acme"].append(ended(5, "b", "correction", held=0, charged_nusd=-1))


def never_reserved(parts: dict[str, Any]) -> None:
    parts["served"].append(served(0))


def reserved_late(parts: dict[str, Any]) -> None:
    event_with(parts, 0, time_ms=1_501)


def asked_for_more(parts: dict[str, Any]) -> None:
    event_with(parts, 0, output_tokens_max=39)


def charged_too_little(parts: dict[str, Any]) -> None:
    parts["served"][0].tokens = (10, 60)  # of which 40 were agreed
    event_with(parts, 1, usage_source="reserved")


def counted_too_little(parts: dict[str, Any]) -> None:
    parts["served"][0].words = 21
    parts["served"][0].tokens = (10, 21)
    event_with(parts, 1, usage_source="counted", response_bytes=10**6)


def not_the_truth(parts: dict[str, Any]) -> None:
    parts["served"][0].tokens = parts["served"][0].reported = (10, 19)


def answered_without_a_trace(parts: dict[str, Any]) -> None:
    parts["sent"][0].told.append(Told("200", "c"))


def answered_for_nothing(parts: dict[str, Any]) -> None:
    event_with(parts, 1, charged_nusd=0)


def told_more(parts: dict[str, Any]) -> None:
    parts["sent"][0].told[0] = Told("200", "a", COST + 1)


def billed_twice(parts: dict[str, Any]) -> None:
    parts["served"].append(served(1, begun_ms=5_000, ended_ms=6_000))


def at_the_same_time(parts: dict[str, Any]) -> None:
    parts["served"].append(served(1, begun_ms=1_600, is_error=True))


def gap(parts: dict[str, Any]) -> None:
    event_with(parts, 3, seq=5)


def recorded_twice(parts: dict[str, Any]) -> None:
    parts["events"]["acme"].append(parts["events"]["acme"][3])


def end_is_missing(parts: dict[str, Any]) -> None:
    look_with(parts, head=Head(1, 5, 2_000, 1, 0, 0))


def epoch_begins_below(parts: dict[str, Any]) -> None:
    event_with(parts, 3, epoch=2, seq=3)
    look_with(parts, head=Head(2, 3, 2_000, 1, 0, 0))


WRONG: tuple[tuple[str, Callable[[dict[str, Any]], None]], ...] = (
    ("nothing is open at rest", lease_left),
    ("nothing is open at rest", reserved_left),
    ("nothing is open at rest", name_held),
    ("events sum to the counters", ledger_counts_more),
    ("events sum to the counters", balance_is_wrong),
    ("events sum to the counters", counter_vanished),
    ("events sum to the counters", total_vanished),
    ("no grant above a limit, nothing negative", grant_above),
    ("no grant above a limit, nothing negative", overrun_unlabelled),
    ("no grant above a limit, nothing negative", above_unexplained),
    ("no grant above a limit, nothing negative", seen_wrong),
    ("no grant above a limit, nothing negative", ended_twice),
    ("one beginning, one ending", ended_twice),
    ("one beginning, one ending", never_ended),
    ("one beginning, one ending", corrected_unexpired),
    ("every upstream call was reserved", never_reserved),
    ("every upstream call was reserved", reserved_late),
    ("every upstream call was reserved", asked_for_more),
    ("what was served is charged", charged_too_little),
    ("what was served is charged", counted_too_little),
    ("what was served is charged", not_the_truth),
    ("no answer without a charge", answered_without_a_trace),
    ("no answer without a charge", answered_for_nothing),
    ("no answer without a charge", told_more),
    ("a call is paid once", never_reserved),
    ("a call is paid once", billed_twice),
    ("a call is paid once", at_the_same_time),
    ("seq has no gaps", gap),
    ("seq has no gaps", recorded_twice),
    ("seq has no gaps", end_is_missing),
    ("seq has no gaps", epoch_begins_below),
)


def test_right_books_are_right() -> None:
    """Nothing is found where nothing is wrong, also over a new epoch that begins with a jump, and
    with an expired request whose truth came late."""
    assert not any(judged(Evidence(**right())).values())
    parts = right()
    events = parts["events"]["acme"]
    events[2:] = [
        asked(3, "b"),
        ended(1_000, "b", "reservation_expired", epoch=2, charged_nusd=HELD, usage_source=""),
        ended(1_001, "b", "correction", held=0, epoch=2, charged_nusd=COST - HELD),
    ]
    del parts["balances"]["acme"][MINUTE]  # its window was over when the ledger was recovered
    events.append(ended(1_002, "an adjustment", "correction", held=0, epoch=2, charged_nusd=0))
    look_with(parts, head=Head(2, 1_002, 120_000, 1, 0, 0))
    assert not any(judged(Evidence(**parts)).values())


def test_what_is_on_its_way_is_not_held_against_the_gateway() -> None:
    """A cancelled stream is charged by what was read of it, though the provider bills more."""
    parts = right()
    call = parts["served"][0]
    call.reported, call.words, call.tokens = None, 30, (10, 30)
    read = call.lead + 20 * call.each
    event_with(parts, 1, usage_source="counted", response_bytes=read)
    wrong = judged(Evidence(**parts))["what was served is charged"]
    assert all("the provider bills" in each for each in wrong)


@pytest.mark.parametrize(("check", "change"), WRONG)
def test_what_is_wrong_is_found(check: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Each check finds what it is for."""
    parts = right()
    change(parts)
    assert judged(Evidence(**parts))[check], change.__name__


def test_every_check_has_something_that_it_finds() -> None:
    """No check is there that was never seen to fail."""
    assert {check for check, _ in WRONG} == CHECKS.keys()


def test_a_seed_plans_the_same_faults() -> None:
    """All faults are drawn from the seed, and a long run kills every part and the supervisor."""
    options = Options(60, seed=5)
    faults = planned(options)
    assert faults == planned(options) != planned(Options(60, seed=6))
    killed = {fault.part for fault in planned(Options(600, seed=5)) if fault.kind == KILL}
    assert killed == {*PARTS, SUPERVISOR}
