"""A key that is minted with an allotment, at the ledger: refused, and killed at every write."""

import pytest

from budgets.allotments import AllotmentInvalid
from budgets.answers import Standing
from budgets.keys import Key, new_secret
from budgets.minting import AllotmentRefused, not_movable
from budgets.plan import Bound
from budgets.policy import Limit, Policy
from budgets.transport import LedgerSilent
from tests.budgets.conftest import MakeDesk
from tests.budgets.harness import Desk
from tests.budgets.minting import MANY, DiesAt, below, minter_of, minting_of
from tests.budgets.test_keys import ring_of


@pytest.mark.parametrize("done", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("write", range(1, 7))
async def test_an_allotment_that_is_killed_can_be_taken_back(
    make_desk: MakeDesk, write: int, done: bool
) -> None:
    """At each of the six writes of a minting with an allotment: what holds money is in the list,
    and revoking it there gives all of it back."""
    killed, desk = await make_desk(), await make_desk()
    minter, secret = await minter_of(desk), new_secret()
    key = below(minter, secret, expires_at_ms=desk.session.clock.now_ms() + 60_000)
    killed.session.transport = DiesAt(killed.transport, write, done=done)
    with pytest.raises(LedgerSilent):
        await minting_of(killed).mint(minter, key, secret, Policy(), MANY, {"usd": 4_000_000})
    works = await ring_of(desk).find(secret.encode())
    assert (works is not None) == (write == 6 and done)
    listed = [each for each, _ in await minting_of(desk).keys(minter, "", MANY)]
    holds = write == 6 or (write == 5 and done)
    assert await allotted(desk, minter) == (4_000_000 if holds else 0)
    assert listed or not holds
    for each in listed:
        await minting_of(desk).revoke(minter, each)
    assert await allotted(desk, minter) == 0


async def test_a_key_whose_allotment_is_refused_is_dead(desk: Desk) -> None:
    """Whoever is beaten to the money leaves no key that works, and holds nothing."""
    minter, secret = await minter_of(desk), new_secret()
    key = below(minter, secret, expires_at_ms=desk.session.clock.now_ms() + 60_000)
    with pytest.raises(AllotmentRefused) as raised:
        await minting_of(desk).mint(minter, key, secret, Policy(), MANY, {"usd": 10_000_001})
    assert (raised.value.refusal.code, raised.value.refusal.scope) == (
        "TOO_LARGE",
        minter.key_scope,
    )
    assert await ring_of(desk).find(secret.encode()) is None
    assert [state for _, state in await minting_of(desk).keys(minter, "", MANY)] == ["closed"]
    assert await allotted(desk, minter) == 0
    late = below(minter, secret, expires_at_ms=5)
    with pytest.raises(AllotmentInvalid):
        await minting_of(desk).mint(minter, late, secret, Policy(), MANY, {"usd": 1})
    assert await ring_of(desk).find(secret.encode()) is None


async def allotted(desk: Desk, minter: Key) -> int:
    """What of the minter's dollars is allotted."""
    checked = await desk.ledger.check(minter.path())
    return sum(each.allotted for each in checked.standings)


@pytest.mark.parametrize(
    ("asked", "code"),
    [(0, None), (4, None), (5, "HELD"), (7, "HELD"), (8, "EXHAUSTED"), (11, "TOO_LARGE")],
)
def test_what_cannot_be_moved_is_known_before(asked: int, code: str | None) -> None:
    """As the opening itself would answer; other dimensions, minutes and limits for some models are
    not asked, also where they are overrun."""
    overrun = [
        standing_of(Limit("1.0", "tokens", "total", "1"), spent=9),
        standing_of(Limit("1.1", "usd", "minute", "1"), spent=9),
        standing_of(Limit("1.2", "usd", "total", "1", ("a*",)), spent=9),
    ]
    binding = standing_of(Limit("1.3", "usd", "day", "10"), spent=3, reserved=1, allotted=2)
    refusal = not_movable({"usd": asked}, (*overrun, binding))
    assert (refusal.code if refusal else None) == code


def standing_of(limit: Limit, spent: int, reserved: int = 0, allotted: int = 0) -> Standing:
    """A limit as it stands."""
    return Standing(Bound("o", limit, 99), spent, reserved, allotted)
