"""Allotments for tests: a tree of scopes with dollars, and short ways to open, spend and close."""

from budgets.allotments import Allotment
from budgets.answers import Refusal, Reservation, Truth
from budgets.plan import ScopePath
from budgets.policy import Dimension
from tests.budgets.harness import TimedDesk, dollars, granted

DAY_MS = 86_400_000


class Tree:
    """An organisation with 1,000 nano-dollars, 800 in `/team`, and below it what tests open."""

    def __init__(self, desk: TimedDesk) -> None:
        self.desk = desk
        self.org = desk.organisation
        self.team = f"{self.org}/team"
        self.run = f"{self.team}/run"
        self.step = f"{self.run}/step"

    async def planted(self) -> "Tree":
        """With its budgets."""
        await self.desk.set_budget(self.org, [{"usd": "0.000001000"}])
        await self.desk.set_budget(self.team, [{"usd": "0.000000800"}])
        return self

    async def try_to_allot(
        self, scope: str, amount: int, dimension: Dimension = "usd", for_ms: int = DAY_MS
    ) -> Allotment | Refusal:
        """One opening, until then."""
        expires_at_ms = self.desk.clock.at_ms + for_ms
        event = b'{"scope":"opened"}'
        return await self.desk.administration.allot(
            scope, {dimension: amount}, expires_at_ms, event
        )

    async def allot(
        self, scope: str, amount: int, dimension: Dimension = "usd", for_ms: int = DAY_MS
    ) -> Allotment:
        """One that fits."""
        answer = await self.try_to_allot(scope, amount, dimension, for_ms)
        assert isinstance(answer, Allotment), answer
        return answer

    async def close(self, scope: str) -> str:
        """The outcome of a closing."""
        return await self.desk.administration.close_allotment(scope, b'{"scope":"closed"}')

    async def lease(self, scope: str, nusd: int) -> Reservation:
        """An open reservation."""
        return granted(await self.desk.ask(dollars(nusd), scope))

    async def settle(self, reservation: Reservation, nusd: int) -> str:
        """Its truth."""
        return await self.desk.ledger.settle(
            self.org, reservation.id, Truth(nusd, 0), b"response", b""
        )

    async def spend(self, scope: str, nusd: int, truth: int | None = None) -> None:
        """A request from its reservation to its end."""
        reservation = await self.lease(scope, nusd)
        assert await self.settle(reservation, nusd if truth is None else truth) == "SETTLED"

    async def standing(self, scope: str) -> dict[str, tuple[int, int, int]]:
        """(spent, reserved, allotted) of each limit that binds a scope, by scope, those of
        allotments as `<scope> allotted`."""
        checked = await self.desk.ledger.check(ScopePath(scope))
        found: dict[str, tuple[int, int, int]] = {}
        for each in checked.standings:
            name = each.bound.scope.removeprefix(self.org)
            if each.bound.allotment:
                name = f"{name} allotted"
            assert name not in found, "these tests have one limit a scope"
            found[name] = (each.spent, each.reserved, each.allotted)
        return found

    async def above(self) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
        """What the organisation and the team have: (spent, reserved, allotted) each."""
        limits = (await self.desk.session.policies(self.org)).items()
        ids = {scope: policy.limits[0].id for scope, policy in limits if policy.limits}
        counters = await self.desk.counters()
        nothing = (0, 0, 0)
        org, team = (counters.get(f"c:{ids[each]}:0", nothing) for each in (self.org, self.team))
        return org, team

    async def state(self, scope: str) -> str:
        """The state of one scope."""
        checked = await self.desk.ledger.check(ScopePath(scope))
        return dict(checked.states)[scope]

    async def recorded(self) -> None:
        """Invariant 3: the outbox sums to the counters, without a gap in its seq."""
        summed: dict[str, list[int]] = {}
        entries = await self.desk.outbox()
        assert [each.seq for each in entries] == list(range(1, len(entries) + 1))
        for entry in entries:
            for field, (spent, reserved) in entry.changes().items():
                pair = summed.setdefault(field, [0, 0])
                pair[0] += spent
                pair[1] += reserved
        counters = await self.desk.counters()
        found = {field: [each[0], each[1]] for field, each in counters.items()}
        assert {k: v for k, v in found.items() if any(v)} == {
            k: v for k, v in summed.items() if any(v)
        }


def declined(answer: Allotment | Refusal, code: str) -> Refusal:
    """The answer, which must be this refusal of an opening."""
    assert isinstance(answer, Refusal), answer
    assert answer.code == code, answer
    return answer
