"""A learned bound is never below what was seen, never above the bytes, not used before enough was
seen, given up by every worker as soon as one bill exceeds it, and learned anew above that."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from budgets.answers import Ask, Reservation
from budgets.calibration import (
    CALIBRATED_AFTER,
    NOT_CALIBRATED,
    THOUSANDTHS,
    Calibration,
    bound_of,
    share_thousandths,
)
from budgets.learned import Billed, Learned
from budgets.plan import Plan
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import granted
from tests.budgets.test_learning import OUTPUT, Worker, hired

BYTES = 1_000
SHARES = st.integers(1, 3_000)


@given(billed=st.integers(0, 10**6), bytes_max=st.integers(1, 10**6))
def test_a_learned_bound_covers_what_it_was_learned_from(billed: int, bytes_max: int) -> None:
    """The same request fits into it, with the margin where the bytes allow one."""
    share = share_thousandths(billed, bytes_max)
    learned = NOT_CALIBRATED.calibrated(share)
    bound = learned.tokens_max(bytes_max)
    assert bound <= bytes_max
    assert bound >= min(billed, bytes_max)
    if learned.bound_thousandths:
        assert learned.bound_thousandths * 4 >= share * 5
    else:
        assert (bound, learned) == (bytes_max, NOT_CALIBRATED)


@given(shares=st.lists(SHARES, max_size=20), last=SHARES)
def test_what_was_seen_is_never_forgotten(shares: list[int], last: int) -> None:
    """In any order of bills and calibrations: a bound in use is above all that was seen."""
    known = NOT_CALIBRATED
    for share in [*shares, last]:
        known = known.with_seen(share)
        assert known.seen_thousandths >= share
        assert not known.bound_thousandths or known.bound_thousandths >= known.seen_thousandths
        known = known.calibrated(share)
    highest = max([*shares, last])
    assert known.seen_thousandths == highest
    assert known.bound_thousandths in (0, *(bound_of(each) for each in (*shares, last)))


def test_a_bill_beyond_the_bound_gives_it_up() -> None:
    """One at the bound does not."""
    known = Calibration(500, 400)
    assert known.with_seen(500) == Calibration(500, 500)
    assert known.with_seen(501) == Calibration(0, 501)
    assert known.with_seen(300) is known


def asked(plan: Plan) -> Ask:
    """A request of so many bytes, as a route that is calibrated has it."""
    assert plan.route is not None
    tokens = plan.route.calibration.tokens_max(BYTES)
    return Ask(tokens, 1_000, tokens, 1, OUTPUT, OUTPUT, plan.route, input_bytes_max=BYTES)


def bill(tokens: int) -> Billed:
    """Of so many tokens of input, a nano-dollar each."""
    return Billed(tokens, OUTPUT, tokens + OUTPUT)


async def served(worker: Worker, tokens: int) -> Reservation:
    """A request of this worker that bills so much input."""
    reservation = granted(await worker.reserve(asked))
    await worker.end(reservation, bill(tokens))
    return reservation


@pytest.fixture
async def calibrated(make_desk: MakeDesk) -> tuple[Worker, Worker]:
    """Two workers, of which one has seen enough: 300 thousandths at most."""
    first, second = await hired(make_desk, 0), await hired(make_desk, 0)
    for n in range(CALIBRATED_AFTER):
        assert (await served(first, 300 if n == 7 else 200)).ask.tokens_fixed == BYTES
    return first, second


async def test_all_workers_use_what_one_has_learned(calibrated: tuple[Worker, Worker]) -> None:
    """After so many requests and not before; an event has the share and the bound."""
    first, second = calibrated
    bound = bound_of(300)
    assert bound == 380
    for worker in (first, second, first):
        assert (await served(worker, 300)).ask.tokens_fixed == bound
    (told,) = [each for each in await first.events() if each["action"] == "bound_calibrated"]
    assert (told["bound_thousandths_before"], told["bound_thousandths"]) == (0, bound)
    assert told["seen_thousandths"] == 300
    assert (await first.policy()).calibration == Calibration(bound, 300)


async def test_a_bill_beyond_it_gives_it_up_everywhere_before_it_is_booked(
    calibrated: tuple[Worker, Worker],
) -> None:
    """The bytes are the bound at once, for all; no factor is learned of what the bytes cover; and
    only as many requests again make a bound, above what was seen."""
    first, second = calibrated
    reservation = await served(second, 500)
    assert reservation.ask.tokens_fixed == bound_of(300)
    assert (await first.policy()).learned == Learned()
    for worker in (first, second):
        assert (await served(worker, 100)).ask.tokens_fixed == BYTES
    *_, given_up = await first.events()
    assert given_up["action"] == "bound_given_up"
    assert given_up["request_id"] == reservation.id
    for _ in range(CALIBRATED_AFTER - 2):
        await served(first, 100)
    assert (await served(first, 100)).ask.tokens_fixed == BYTES
    assert (await served(first, 100)).ask.tokens_fixed == bound_of(500)


async def test_a_bill_beyond_the_bytes_raises_the_factor_too(
    calibrated: tuple[Worker, Worker],
) -> None:
    """Then no bound follows from what was seen, and the factor is that of the bytes."""
    first, second = calibrated
    await served(second, 2 * BYTES)
    policy = await first.policy()
    assert policy.calibration == Calibration(0, 2_000)
    assert policy.learned == Learned(2_000, THOUSANDTHS)


async def test_what_another_worker_had_seen_before_counts(make_desk: MakeDesk) -> None:
    """A worker that knows of more than the bound which another has learned gives it up."""
    first, second = await hired(make_desk, 0), await hired(make_desk, 0)
    await served(second, 700)
    for _ in range(CALIBRATED_AFTER):
        await served(first, 200)
    assert (await served(second, 100)).ask.tokens_fixed == bound_of(200)
    assert (await first.policy()).calibration == Calibration(0, 700)


async def test_nothing_is_learned_where_nobody_asked_for_it(make_desk: MakeDesk) -> None:
    """A route that is not calibrated has none, however much it is used."""
    worker = await hired(make_desk, 0)
    for _ in range(CALIBRATED_AFTER + 1):
        await worker.served(Billed(1, OUTPUT, 1 + OUTPUT))
    assert (await worker.policy()).calibration is None
