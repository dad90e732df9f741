"""The judgement at the end of an episode: everything has ended, every event is in the records once,
and what was charged covers what providers bill.
"""

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from clickhouse.chain import GENESIS, link
from tests.simulation.accounts import Account, Held
from tests.simulation.tables import canonical_part, column
from tests.simulation.world import World


def judge(world: World, organisations: tuple[str, ...]) -> None:
    """Raises SimulationFailed."""
    calls = {id_: call for call, ids in world.ids.items() for id_ in ids}
    for organisation in organisations:
        account = world.books.accounts[organisation]
        if account.rolled_back:
            continue
        must = world.books.must
        must(not account.is_shaken, "%s is not recovered", organisation)
        _nobody_is_forgotten(world, account, calls)
        _nothing_is_left(world, account)
        _records_are_whole(world, account)
        for held in account.held.values():
            recovered = account.recoveries > 0
            call = calls[held.id]
            _money_is_right(world, held, call, recovered=recovered)
            _enough_is_charged(world, account, held, call)


def _nobody_is_forgotten(world: World, account: Account, calls: dict[str, int]) -> None:
    """What was granted and is lost was never recorded, and whoever was told of it has died. (Once
    everybody has ended this says no more than at rest, before.)"""
    for id_, process in world.answered.items():
        if world.organisation_of[calls[id_]] == account.name and id_ not in account.held:
            known = id_ in account.lost and (not process.alive or id_ in account.too_old)
            world.books.must(known, "%s was granted to %s and is lost", id_, process.name)
            world.tally["rare:lost with its worker"] += id_ not in account.gone
            account.gone.add(id_)


def _nothing_is_left(world: World, account: Account) -> None:
    must, key = world.books.must, f"{{{account.name}}}:"
    must(not account.open, "open at rest: %s", sorted(account.open))
    for name, (_, reserved) in account.sums.items():
        must(not reserved, "%s reserves %d at rest", name, reserved)
    outbox, bodies, mark = world.server.line.ask(
        ("XLEN", key + "outbox"), ("XLEN", key + "bodies"), ("HKEYS", key + "recorder")
    )
    must((outbox, bodies) == (0, 0), "%d events and %d payloads wait", outbox, bodies)
    must(account.head.bodies_bytes == 0, "%d payload bytes are left", account.head.bodies_bytes)
    # A `fix` that was executed late leaves bounds behind; the next confirmation removes them.
    known = {b"owner", b"until", b"fixed", b"confirmed"}
    must(set(mark) <= known, "the recorders' mark has %s", mark)


def _records_are_whole(world: World, account: Account) -> None:
    must = world.books.must
    rows = world.store.in_order(account.name)
    places = [(column(row, "epoch"), column(row, "seq")) for row in rows]
    twice = [place for place, count in Counter(places).items() if count > 1]
    must(not twice, "events %s are recorded twice", twice)
    differ = sorted(account.kinds.keys() ^ set(places))
    must(not differ, "events %s are recorded or have happened, not both", differ[:5])
    head, spent = GENESIS, Counter[str]()
    for row in rows:
        kind, id_ = account.kinds[column(row, "epoch"), column(row, "seq")]
        must(column(row, "event_type") == kind, "%s is recorded as %s", kind, row)
        must(not kind.startswith("llm_") or column(row, "request_id") == id_, "%s: %s", id_, row)
        must(column(row, "prev_hash") == head, "the chain breaks at %s", row)
        head = link(head, canonical_part(row))
        must(column(row, "hash") == head, "the hash of %s is wrong", row)
        if kind != "llm_request":
            for name, _, _, charged in column(row, "counters"):
                spent[name] += charged
    sums = {name: both[0] for name, both in account.sums.items() if both[0]}
    recorded = {name: total for name, total in spent.items() if total}
    must(recorded == sums, "the records come to %s, the ledger to %s", recorded, sums)
    payloads = set(world.store.bodies.get(account.name, ()))
    must(account.bodies <= payloads, "payloads of %s", sorted(account.bodies - payloads))
    more = (payloads - account.bodies) & account.kinds.keys()
    must(not more, "payloads of %s are recorded, and never were", sorted(more))


def _money_is_right(world: World, held: Held, call: int, *, recovered: bool) -> None:
    must, served = world.books.must, world.served.get(held.id)
    about = (held.id, call, held.usage_source, held.charged_nusd, held.reserved_nusd, served)
    left_by = world.left_on_disk.get(held.id)
    must(
        left_by is None or held.state == "ended" or recovered,
        "%s left the ending of %s on the disk, and it is %s",
        *(left_by, held.id, held.state),
    )
    if served is None or served.obedient:
        invented = held.usage_source == "provider" and served is not None and not served.reported
        beyond = served is not None and served.is_beyond_bound
        must(
            held.charged_nusd <= held.reserved_nusd or invented or beyond,
            "%s (call %d) is %s: %d of %d, %s",
            *about,
        )
    if served is not None and served.reported and held.usage_source == "provider":
        true_nusd = served.cost_nusd(served.reported)
        must(held.charged_nusd == true_nusd, "%s (call %d) is not the truth: %s %d %d %s", *about)
    received = world.received.get(call)
    told: Any = received and received.headers.get(b"x-comptroller-cost-usd")
    if received and told and received.complete and held.state != "expired":
        nusd = int(Decimal(told.decode()) * 10**9)
        must(nusd == held.charged_nusd, "%s (call %d): %s %d %d %s", *about)


def _enough_is_charged(world: World, account: Account, held: Held, call: int) -> None:
    """All that the provider bills, but what its cancelled stream had not sent yet. Where the bound
    was a learned one, which may be wrong, whoever booked the reservation knew no better."""
    served = world.served.get(held.id)
    if served is None or not served.obedient:
        return
    counted = held.usage_source == "counted" and (served.stops or not held.bytes_read)
    least_nusd = served.least_nusd(held.bytes_read) if counted else served.billed_nusd
    world.tally["rare:billed beyond what was read"] += held.charged_nusd < served.billed_nusd
    if served.is_beyond_bound:
        least_nusd = min(least_nusd, held.reserved_nusd)
    world.books.must(
        held.charged_nusd >= least_nusd,
        "%s (call %d) is charged too little as %s: %d of %d, %s",
        *(held.id, call, held.usage_source, held.charged_nusd, held.reserved_nusd, served),
    )


def what_waits(world: World, organisations: tuple[str, ...], director: Any) -> str:
    """For a world that does not come to rest."""
    found: dict[str, Any] = {"in flight": director.crowd.in_flight}
    for organisation in organisations:
        account = world.books.accounts[organisation]
        found[organisation] = {
            "open": sorted(account.open),
            "seq": account.seq,
            "confirmed": account.confirmed,
            "recorded": len(world.store.seqs.get(organisation, ())),
        }
    for worker in director.workers:
        if worker.endings is not None:
            found[worker.process.name] = f"{worker.endings.waiting} endings"
    return json.dumps(found)
