"""The stream format: what the real scripts append is read, nothing else is taken for it."""

from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.answers import Ask, Reservation, Truth
from budgets.embedded import EmbeddedServer
from budgets.plan import ScopePath
from budgets.policy import parse_policy
from clickhouse.events import CounterChange
from clickhouse.stream import Entry, EntryMalformed, read_entry
from tests.budgets.harness import TimedDesk, granted, recorded
from tests.recorder.workbench import LEASE_MS, NOON_MS, desk_at

LIMITS = [{"usd": "1.00"}, {"tokens": 10_000}, {"requests": 100}, {"concurrency": 9}]
ASK = Ask(100, 1500, 50, 1, 201, 201)  # 100 + 301.5 rounded up nano-dollars, 251 tokens
NUSD, TOKENS = 402, 251


@pytest.fixture
async def desk(valkey: EmbeddedServer) -> AsyncIterator[TimedDesk]:
    """A worker at noon."""
    async with desk_at(valkey) as made:
        yield made


async def last(desk: TimedDesk) -> Entry:
    """The last entry of the outbox, read."""
    found: Any = await desk.transport.command(
        "XREVRANGE", desk.key("outbox"), "+", "-", "COUNT", "1"
    )
    ((entry_id, fields),) = found
    return read_entry(entry_id, fields, b"the payload")


async def reserved(desk: TimedDesk, event: bytes = b'{"of":"request"}') -> Reservation:
    """A grant of ASK."""
    return granted(
        await desk.ledger.reserve(
            ScopePath(desk.organisation),
            "m",
            lambda _: ASK,
            recorded(event, b"prompt"),
            desk.session.new_id(),
        )
    )


def changes(entry: Entry) -> list[tuple[int, int, int]]:
    """(dimension, held, charged) of the counters, in their order."""
    return [change[1:] for change in entry.counters]


async def expired(desk: TimedDesk) -> Reservation:
    """A grant of ASK whose lease was swept."""
    reservation = await reserved(desk)
    await desk.advance(LEASE_MS + 1)
    assert await desk.ledger.sweep(desk.organisation) == [reservation.id]
    return reservation


async def test_a_request_is_read(desk: TimedDesk) -> None:
    """reserve: seq, time, id, granted output, what was reserved, and every counter with its amount;
    nothing is charged."""
    policy = await desk.administration.set_policy(desk.organisation, parse_policy(LIMITS), b"set")
    reservation = await reserved(desk)
    entry = await last(desk)
    assert entry == Entry(
        epoch=1,
        seq=reservation.seq,
        event_type="llm_request",
        time_ms=NOON_MS,
        id=reservation.id,
        output_tokens=201,
        reserved_nusd=NUSD,
        counters=tuple(
            (f"c:{limit.id}:0", number, amount, 0)
            for number, (limit, amount) in enumerate(
                zip(policy.limits, (NUSD, TOKENS, 1, 1), strict=True), 1
            )
        ),
        event=b'{"of":"request"}',
        body=b"the payload",
    )
    assert reservation.reserved_nusd == NUSD


async def test_a_settlement_is_read(desk: TimedDesk) -> None:
    """settle: what was held and what was charged; its own event says what was reserved."""
    await desk.set_budget(desk.organisation, LIMITS)
    reservation = await reserved(desk)
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(500, 90), b"{}", b"")
    entry = await last(desk)
    assert (entry.event_type, entry.id, entry.event) == ("llm_response", reservation.id, b"{}")
    assert (entry.output_tokens, entry.reserved_nusd) == (0, 0)
    assert changes(entry) == [(1, NUSD, 500), (2, TOKENS, 90), (3, 1, 1), (4, 1, 0)]


@pytest.mark.parametrize("event", [b"", b'{"of":"release"}'])
async def test_a_release_is_read(desk: TimedDesk, event: bytes) -> None:
    """release: all of it back. Without an event of its own the request's speaks, with what was
    granted and reserved."""
    await desk.set_budget(desk.organisation, LIMITS)
    reservation = await reserved(desk)
    await desk.ledger.release(desk.organisation, reservation.id, event)
    entry = await last(desk)
    assert (entry.event_type, entry.id) == ("llm_response", reservation.id)
    assert entry.event == (event or b'{"of":"request"}')
    assert (entry.output_tokens, entry.reserved_nusd) == ((0, 0) if event else (201, NUSD))
    assert changes(entry) == [(1, NUSD, 0), (2, TOKENS, 0), (3, 1, 0), (4, 1, 0)]


async def test_an_expiry_is_read(desk: TimedDesk) -> None:
    """sweep: all of it charged but concurrency, described by the request's own event."""
    await desk.set_budget(desk.organisation, LIMITS)
    reservation = await expired(desk)
    entry = await last(desk)
    assert (entry.event_type, entry.id) == ("reservation_expired", reservation.id)
    assert entry.time_ms == NOON_MS + LEASE_MS + 1
    assert (entry.event, entry.output_tokens, entry.reserved_nusd) == (
        b'{"of":"request"}',
        201,
        NUSD,
    )
    assert changes(entry) == [(1, NUSD, NUSD), (2, TOKENS, TOKENS), (3, 1, 1), (4, 1, 0)]


@pytest.mark.parametrize(
    ("truth", "nusd", "tokens"),
    [
        (Truth(500, 90), 500 - NUSD, 90 - TOKENS),
        (Truth(None, None), 0, 0),
        (Truth(0, 0), -402, -251),
    ],
)
async def test_a_late_settlement_is_a_correction(
    desk: TimedDesk, truth: Truth, nusd: int, tokens: int
) -> None:
    """settle after expiry: nothing held any more, charged is the difference to the expiry."""
    await desk.set_budget(desk.organisation, LIMITS)
    reservation = await expired(desk)
    late = await desk.ledger.settle(desk.organisation, reservation.id, truth, b"{}", b"")
    entry = await last(desk)
    assert (late, entry.event_type, entry.id) == ("CORRECTED", "correction", reservation.id)
    assert changes(entry) == [(1, 0, nusd), (2, 0, tokens), (3, 0, 0), (4, 0, 0)]
    assert (entry.output_tokens, entry.reserved_nusd, entry.event) == (0, 0, b"{}")


@pytest.mark.parametrize("event", [b"", b'{"of":"release"}'])
async def test_a_late_release_is_a_correction(desk: TimedDesk, event: bytes) -> None:
    """release after expiry: the whole charge back; the request speaks if nobody else does."""
    await desk.set_budget(desk.organisation, LIMITS)
    reservation = await expired(desk)
    await desk.ledger.release(desk.organisation, reservation.id, event)
    entry = await last(desk)
    assert (entry.event_type, entry.id) == ("correction", reservation.id)
    assert changes(entry) == [(1, 0, -NUSD), (2, 0, -TOKENS), (3, 0, -1), (4, 0, 0)]
    assert entry.event == (event or b'{"of":"request"}')
    assert (entry.output_tokens, entry.reserved_nusd) == ((0, 0) if event else (201, NUSD))


async def test_an_adjustment_is_read(desk: TimedDesk) -> None:
    """adjust: deltas as charges, up and down, in the order that was given."""
    policy = await desk.administration.set_policy(desk.organisation, parse_policy(LIMITS), b"set")
    usd, tokens = (f"c:{limit.id}:0" for limit in policy.limits[:2])
    await reserved(desk)
    deltas = [(usd, 1, 70), (tokens, 2, 5), (usd, 1, -30)]
    id_ = desk.session.new_id()
    assert await desk.administration.adjust(desk.organisation, id_, deltas, b'{"by":"x"}') == "DONE"
    fields = (await desk.transport.command("HKEYS", desk.key("ledger"))) or []
    assert isinstance(fields, list)
    assert usd.encode() in fields
    entry = await last(desk)
    assert (entry.event_type, entry.id, entry.event) == ("correction", id_, b'{"by":"x"}')
    assert entry.counters == ((usd, 1, 0, 70), (tokens, 2, 0, 5), (usd, 1, 0, -30))


async def test_policy_keys_and_foreign_events_are_read(desk: TimedDesk) -> None:
    """set, state, key and append touch no counter and carry their event as it was given."""
    organisation, administration = desk.organisation, desk.administration
    await administration.set_policy(organisation, parse_policy(LIMITS), b'{"n":1}')
    assert (await last(desk)).event_type == "budget_changed"
    await administration.record_key(organisation, "key-9", b"record", "key_minted", b'{"n":2}')
    minted = await last(desk)
    await administration.set_state(f"{organisation}/key-9", "close", "key_revoked", b'{"n":3}')
    revoked = await last(desk)
    id_ = desk.session.new_id()
    await administration.append(organisation, id_, "run_submitted", b"\x00not json\xff")
    appended = await last(desk)
    assert [each.event_type for each in (minted, revoked, appended)] == [
        *("key_minted", "key_revoked", "run_submitted")
    ]
    assert [each.event for each in (minted, revoked, appended)] == [
        *(b'{"n":2}', b'{"n":3}', b"\x00not json\xff")
    ]
    assert appended.id == id_
    for each in (minted, revoked, appended):
        assert (each.counters, each.output_tokens, each.reserved_nusd) == ((), 0, 0)


async def test_a_request_without_limits_is_read(desk: TimedDesk) -> None:
    """No limit, no counter, at the request and at each ending; what was reserved is said all the
    same."""
    for ending in ("settle", "release", "expire"):
        reservation = await reserved(desk)
        request = await last(desk)
        if ending == "settle":
            await desk.ledger.settle(desk.organisation, reservation.id, Truth(7, 7), b"{}", b"")
        elif ending == "release":
            await desk.ledger.release(desk.organisation, reservation.id, b"")
        else:
            await desk.advance(LEASE_MS + 1)
            await desk.ledger.sweep(desk.organisation)
        assert (request.counters, request.reserved_nusd) == ((), NUSD)
        assert (await last(desk)).counters == ()
        assert (await last(desk)).reserved_nusd == (0 if ending == "settle" else NUSD)


async def test_large_amounts_are_exact(desk: TimedDesk) -> None:
    """Amounts at the upper end come through Lua and cmsgpack to the last digit."""
    nusd = 99_999_999_999_999
    await desk.set_budget(desk.organisation, [{"usd": "8000000"}])
    asked = Ask(nusd, 0, 0, 0, 10**12, 10**12)
    reservation = granted(await desk.ask(asked))
    request = await last(desk)
    assert (request.output_tokens, request.reserved_nusd) == (10**12, nusd)
    assert changes(request) == [(1, nusd, 0)]
    await desk.ledger.settle(desk.organisation, reservation.id, Truth(nusd - 1, 0), b"", b"")
    assert changes(await last(desk)) == [(1, nusd, nusd - 1)]


async def test_many_long_counters_are_read(desk: TimedDesk) -> None:
    """A deep path with limits on every node: the counters' text is longer than one byte can say."""
    path = ScopePath("/".join([desk.organisation, *("n" * 60 for _ in range(7))]))
    for node in path.nodes():
        await desk.set_budget(node, {"limits": LIMITS, "per_child": LIMITS})
    await desk.ask(ASK, path=path)
    entry = await last(desk)
    assert len(entry.counters) == 8 * 4
    assert {change[2] for change in entry.counters} == {NUSD, TOKENS, 1}


def facts(*values: Any) -> bytes:
    """As cmsgpack.pack joins them."""
    return b"".join(msgspec.msgpack.encode(value) for value in values)


def packed_text(content: bytes) -> bytes:
    """A MessagePack text that is not UTF-8, as Lua writes bytes."""
    length = len(content)
    if length < 32:
        return bytes((0xA0 | length,)) + content
    for code, size in ((0xD9, 1), (0xDA, 2), (0xDB, 4)):
        if length < 1 << 8 * size:
            return bytes((code,)) + length.to_bytes(size, "big") + content
    raise AssertionError(length)


def fields(kind: str, flat: list[Any], event: bytes = b"{}") -> list[bytes]:
    """An entry's fields."""
    packed = packed_text(msgspec.msgpack.encode(flat) if flat else b"")
    return [
        *(b"event", event),
        *(b"facts", facts(kind, 5, "id") + packed + facts(1, 2)),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 20, 300, 9000])
def test_counters_of_any_length_are_read(count: int) -> None:
    """Each of MessagePack's text sizes (5, 8, 16 and 32 bits of length), for both widths."""
    held: list[CounterChange] = [(f"c:{n}.0:0", 1, n, 0) for n in range(count)]
    flat = [value for change in held for value in change[:3]]
    assert read_entry(b"3-4", fields("llm_request", flat)).counters == tuple(held)
    charged: list[CounterChange] = [(f"c:{n}.0:0", 1, n, -n) for n in range(count)]
    flat = [value for change in charged for value in change]
    assert read_entry(b"3-4", fields("correction", flat)).counters == tuple(charged)


@pytest.mark.parametrize(
    ("entry_id", "named"),
    [
        (b"3", fields("correction", [])),
        (b"3-x", fields("correction", [])),
        (b"3-4-5", fields("correction", [])),
        (b"3-4", []),
        (b"3-4", [b"event"]),
        (b"3-4", [b"event", b"{}"]),
        (b"3-4", [b"facts", facts("correction", 5, "id", "", 1, 2)]),
        (b"3-4", [b"event", b"{}", b"facts", b""]),
        (b"3-4", [b"event", b"{}", b"facts", facts("correction", 5, "id", "", 1)]),
        (b"3-4", [b"event", b"{}", b"facts", facts("correction", 5, "id", "", 1, 2, 3)]),
        (b"3-4", [b"event", b"{}", b"facts", facts("correction", 5, "id", None, 1, 2)]),
        (b"3-4", [b"event", b"{}", b"facts", facts("correction", "5", "id", "", 1, 2)]),
        (b"3-4", [b"event", b"{}", b"facts", facts("correction", 5, "id", "\x01", 1, 2)]),
        (b"3-4", fields("correction", ["c", 1, 2, "x"])),
    ],
)
def test_what_no_script_writes_is_malformed(entry_id: bytes, named: list[bytes]) -> None:
    """An entry that cannot be read raises EntryMalformed, which names it, and nothing else."""
    with pytest.raises(EntryMalformed, match=entry_id.decode()):
        read_entry(entry_id, named)


@pytest.mark.parametrize(
    ("kind", "flat"),
    [
        ("correction", ["c"]),
        ("correction", ["c", 1, 2]),
        ("llm_request", ["c", 1]),
        ("llm_request", ["c", 1, 2, "d"]),
    ],
)
def test_half_a_counter_is_malformed(kind: str, flat: list[Any]) -> None:
    """Counters that stop in the middle of one raise EntryMalformed: a recorder must be able to say
    that this organisation's outbox is broken, not break itself."""
    with pytest.raises(EntryMalformed):
        read_entry(b"3-4", fields(kind, flat))


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_any_bytes_are_an_entry_or_malformed(said: bytes, event: bytes) -> None:
    """Whatever the facts are, there is no third way out."""
    try:
        read = read_entry(b"1-2", [b"event", event, b"facts", said])
    except EntryMalformed:
        return
    assert (read.epoch, read.seq, read.event) == (1, 2, event)


@given(
    st.sampled_from(("llm_request", "correction")),
    st.lists(
        st.one_of(st.integers(-5, 5), st.text(max_size=3), st.floats(), st.none()), max_size=9
    ),
)
def test_any_counters_are_read_or_malformed(kind: str, flat: list[Any]) -> None:
    """Whatever whole counters are, there is no third way out."""
    width = 3 if kind == "llm_request" else 4
    flat = flat[: len(flat) // width * width]  # half ones are above
    try:
        read = read_entry(b"1-2", fields(kind, flat))
    except EntryMalformed:
        return
    assert len(read.counters) == len(flat) // width
