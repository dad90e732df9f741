"""The ledger's side of runs: their scopes and limits, and a key for each attempt.

Below the scope of a project lie that of a run, those of its steps, those of the entries of a
`foreach`, and last that of each attempt's key. What is written here is on the server's disk when it
is answered, and writing it again changes nothing, so that an executor that takes a run over begins
where another one has died. Before an attempt's key is minted, a fence shuts out all earlier ones:
their keys, whatever these have minted, and runs that they have started.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from budgets.administration import Administration, ScopeClosed
from budgets.allotments import AllotmentOpen, moves_aside
from budgets.answers import Refusal, Standing
from budgets.exhausted import KIND_OF_RUNS, KIND_OF_STEPS, Exhausted, told_after
from budgets.keys import Key, KeyRing, Work, digest
from budgets.overview import SCOPES_AT_ONCE_MAX, Overview, ScopeStanding
from budgets.plan import ScopeRecord
from budgets.policy import SEGMENTS_MAX, Dimension, Limit, Policy, ancestors, parse_scope
from budgets.session import Session
from orchestrator.events import RunEventType, of_scope
from orchestrator.kinds.contract import BudgetUsedUp, Held, StepFailed, UsedUpForNow
from orchestrator.places import AttemptPlace, RunPlace
from orchestrator.running.attempt_secrets import secret_of
from orchestrator.running.key_events import AttemptKeyEvents
from pricing import dollars

AGAIN_MS = 2_000
"""After which what is set aside for others is asked for again."""
SET_ASIDE_MS = 400 * 86_400_000
"""What is guaranteed lasts until its step or its run is closed. A run that nobody closes gives it
back after this time."""
SEGMENTS_BELOW = 3
"""Of a run: a step, its entry, its key."""
FROZEN = 1


class ScopeNotOpen(StepFailed):
    """A scope that a run or an attempt would spend from is closed for good."""

    def __init__(self, scope: str) -> None:
        super().__init__(
            f"scope {scope} is closed: its run has ended or was halted, or nothing may be spent "
            "there any more; submit the workflow again, in a scope that is open",
            is_final=True,
        )
        self.scope = scope


class AttemptOver(StepFailed):
    """This attempt has ended, or a later one has begun: whoever is here has slept."""

    def __init__(self, attempt: AttemptPlace) -> None:
        super().__init__(
            f"attempt {attempt.number} at {attempt.task.label} of run {attempt.run.id} is over: "
            "a later one has begun, or its run has ended",
            is_final=True,
        )


@dataclass(frozen=True, slots=True)
class RunStanding:
    """How a run stands: its own scope, and those of its steps, by step."""

    run: ScopeStanding
    steps: Mapping[str, ScopeStanding]


class Purse:
    """Of one executor. `master`: what secrets are derived from, the same for all executors. Every
    method raises LedgerUnavailable, and may be called again then."""

    def __init__(self, session: Session, administration: Administration, master: bytes) -> None:
        self._session = session
        self._administration = administration
        self._overview = Overview(session)
        self._ring = KeyRing(session, administration, AttemptKeyEvents())
        self._master = master

    async def open_run(self, run: RunPlace, budget: tuple[Limit, ...]) -> None:
        """The run's scope with its limits. One that is open already keeps those it has, because
        they may have been raised. Raises ScopeNotOpen; Held where a scope above is frozen;
        StepFailed where its place is too deep."""
        _check_depth(run)
        records = await self._session.load(list(ancestors(run.scope)), create=False)
        self._check_open(records)
        await self._limit(run, run.scope, records[run.scope], KIND_OF_RUNS, budget)

    async def open_step(
        self, run: RunPlace, step: str, budget: tuple[Limit, ...], *, guaranteed: bool
    ) -> None:
        """The limits of a step, of all its attempts and entries together, once; and, where they
        are `guaranteed`, the money itself, moved from what is above it. Siblings can spend
        whatever is not moved yet. Raises ScopeNotOpen, BudgetUsedUp, Held."""
        scope = run.step_scope(step)
        records = await self._session.load(list(ancestors(scope)), create=False)
        self._check_open(records)
        await self._limit(run, scope, records[scope], KIND_OF_STEPS, budget)
        if guaranteed and not _is_moved(records[scope]):
            await self._move(run, scope)

    async def begin_attempt(
        self,
        attempt: AttemptPlace,
        *,
        models: tuple[str, ...] = (),
        agent: str = "",
        expires_at_ms: int,
        delegates: bool = False,
    ) -> str:
        """The secret of the attempt's key, which works until this time (ms since 1970); all
        earlier attempts' keys are refused from now on. `models`: patterns, empty for all. The
        step's budget is there already (`open_step`). Raises ScopeNotOpen, AttemptOver, Held."""
        records = await self._session.load(list(ancestors(attempt.key_scope)), create=False)
        self._check_attempt(attempt, records)
        if attempt.number > max(1, records[attempt.scope].fence):
            await self._fence(attempt)
        secret = secret_of(self._master, attempt)
        key = msgspec.structs.replace(
            _key_of(attempt, secret),
            created_at_ms=self._session.clock.now_ms(),
            expires_at_ms=expires_at_ms,
            models=models,
            agent=agent,
            delegates=delegates,
        )
        try:
            await self._ring.mint(key, secret, Policy())
        except ScopeClosed:
            raise AttemptOver(attempt) from None
        return secret

    async def check_thawed(self, scope: str) -> None:
        """Raises Held where this scope is frozen, or one above it."""
        _check_frozen(await self._session.load(list(ancestors(scope)), create=False))

    async def is_used_up(self, told: Exhausted) -> bool:
        """Whether that is true still: who was refused may have been given more before it was
        heard."""
        return any(
            (each.dimension, each.window) == (told.dimension, told.window)
            and each.amount <= told.amount
            for each in await self.limits(told.scope)
        )

    async def limits(self, scope: str) -> tuple[Limit, ...]:
        """What binds a scope now: its own limits or those of its parent's template, and what is
        allotted to it."""
        (standing,) = await self._overview.standings(scope.split("/", 1)[0], [scope])
        return tuple(each.bound.limit for each in standing.standings)

    async def end_attempt(self, attempt: AttemptPlace) -> None:
        """Its key is refused from the next call on, and so is whatever it has minted."""
        await self._ring.revoke(_key_of(attempt, secret_of(self._master, attempt)))

    async def close_step(self, run: RunPlace, step: str) -> None:
        """What is guaranteed to a step and not spent is its run's again. The step may go on
        without."""
        scope = run.step_scope(step)
        await self._administration.close_allotment(scope, of_scope(run, scope, "close allotment"))

    async def close_run(self, run: RunPlace, steps: Iterable[str] = ()) -> None:
        """Nothing below the run's scope is granted any more, and what was moved there is given
        back. `steps` that had limits are closed, too: only then may the ledger forget them."""
        for scope in (run.scope, *(run.step_scope(each) for each in steps)):
            await self._close(run, scope)

    async def raise_budget(self, run: RunPlace, limits: tuple[Limit, ...]) -> None:
        """Raises limits of the run; those that are not named, or are as high already, stay as they
        are, and counters go on. Raises ScopeNotOpen."""
        event = of_scope(run, run.scope, "raise budget")

        def raised(now: Policy) -> tuple[Policy, bytes]:
            return msgspec.structs.replace(now, limits=_raised(now.limits, limits)), event

        try:
            await self._administration.change_policy(run.scope, raised)
        except ScopeClosed:
            raise ScopeNotOpen(run.scope) from None

    async def standing(self, run: RunPlace, steps: Iterable[str] = ()) -> RunStanding:
        """What each limit of the run and of these steps has spent, reserved and moved on. A step
        without limits has none; what it has spent is in the records."""
        named = {run.step_scope(each): each for each in steps}
        scopes = [run.scope, *named]
        found: list[ScopeStanding] = []
        for start in range(0, len(scopes), SCOPES_AT_ONCE_MAX):
            some = scopes[start : start + SCOPES_AT_ONCE_MAX]
            found += await self._overview.standings(run.organisation, some)
        return RunStanding(found[0], {named[each.scope]: each for each in found[1:]})

    async def tell(
        self, organisation: str, event_id: str, event_type: RunEventType, event: bytes
    ) -> str:
        """Puts an event (`orchestrator.events`) into the organisation's log: DONE, or ALREADY
        where it is there, as the ledger knows for two hours."""
        return await self._administration.append(organisation, event_id, event_type, event)

    async def exhausted(self, after: str) -> list[Exhausted]:
        """Budgets used up that have refused runs' calls, told after this place, oldest first: see
        `budgets.exhausted`. The next place is the last one's `at`; everybody may read all."""
        return await told_after(self._session.transport, after)

    def _check_open(self, records: Mapping[str, ScopeRecord]) -> None:
        """Raises ScopeNotOpen, Held."""
        for scope, record in records.items():
            if record.is_closed:
                raise ScopeNotOpen(scope)
        _check_frozen(records)

    def _check_attempt(self, attempt: AttemptPlace, records: Mapping[str, ScopeRecord]) -> None:
        """That what is begun here could spend anything. Raises ScopeNotOpen, AttemptOver, Held."""
        if records[attempt.key_scope].is_closed:
            raise AttemptOver(attempt)
        self._check_open(records)
        numbers = dict(attempt.fences)
        if any(record.fence > numbers.get(scope, 0) for scope, record in records.items()):
            raise AttemptOver(attempt)

    async def _limit(
        self,
        run: RunPlace,
        scope: str,
        record: ScopeRecord,
        kind: str,
        budget: tuple[Limit, ...],
    ) -> None:
        """Sets limits where the scope is not of this kind yet."""
        if record.policy.kind == kind:
            return
        event = of_scope(run, scope, "set budget")

        def limited(now: Policy) -> tuple[Policy, bytes]:
            wanted = msgspec.structs.replace(now, kind=kind, limits=budget)
            return (now if now.kind == kind else wanted), event

        try:
            await self._administration.change_policy(scope, limited)
        except ScopeClosed:
            raise ScopeNotOpen(scope) from None

    async def _move(self, run: RunPlace, scope: str) -> None:
        """Moves what the step's limits leave it. Raises BudgetUsedUp, Held, ScopeNotOpen."""
        (standing,) = await self._overview.standings(run.organisation, [scope])
        amounts = _movable(standing.standings)
        if not amounts:
            return
        event = of_scope(run, scope, "set aside")
        expires_at_ms = self._session.clock.now_ms() + SET_ASIDE_MS
        try:
            answer = await self._administration.allot(scope, amounts, expires_at_ms, event)
        except AllotmentOpen:  # somebody else was faster
            return
        if isinstance(answer, Refusal):
            raise _not_moved(answer, scope, amounts)

    async def _fence(self, attempt: AttemptPlace) -> None:
        """On the disk before the key that it lets through is anybody's."""
        event = of_scope(attempt.run, attempt.scope, f"begin attempt {attempt.number}")
        code = await self._administration.set_state(
            attempt.scope, "fence", "budget_changed", event, attempt=attempt.number
        )
        if code == "CLOSED":
            raise ScopeNotOpen(attempt.scope)

    async def _close(self, run: RunPlace, scope: str) -> None:
        record = (await self._session.load([scope], create=False))[scope]
        if not record.is_closed:
            event = of_scope(run, scope, "close")
            await self._administration.set_state(scope, "close", "budget_changed", event)


def _check_frozen(records: Mapping[str, ScopeRecord]) -> None:
    """Raises Held."""
    for scope, record in records.items():
        if record.state == FROZEN:
            told = f"scope {scope} is frozen: `comptroller budget thaw {scope}` lets it go on"
            raise Held(told, AGAIN_MS)


def _check_depth(run: RunPlace) -> None:
    """Raises StepFailed."""
    depth = len(parse_scope(run.scope))
    if depth + SEGMENTS_BELOW > SEGMENTS_MAX:
        raise StepFailed(
            f"scope {run.scope} is too deep for a run: it has {depth} segments of {SEGMENTS_MAX}, "
            f"and steps need {SEGMENTS_BELOW} below; nest fewer workflows, or submit it in a scope "
            "that is nearer to its organisation",
            is_final=True,
        )


def _key_of(attempt: AttemptPlace, secret: str) -> Key:
    """What names an attempt's key: enough to revoke it."""
    run = attempt.run
    return Key(
        id=attempt.key_id,
        name=attempt.name,
        scope=attempt.scope,
        created_at_ms=0,
        secret_sha256=digest(secret),
        attempts=attempt.fences,
        work=Work(run.workflow, run.version, run.id, attempt.task.label, attempt.number),
    )


def _raised(now: tuple[Limit, ...], wanted: tuple[Limit, ...]) -> tuple[Limit, ...]:
    """Limits that are there, each at least as high as wanted; others bind nobody yet."""
    higher = {each.identity: each.amount for each in wanted}
    return tuple(
        msgspec.structs.replace(
            each, amount_text=str(max(each.amount, higher.get(each.identity, 0)))
        )
        for each in now
    )


def _is_moved(record: ScopeRecord) -> bool:
    """Raises Held where an earlier allotment is just being closed."""
    if record.allotment is not None and record.allotment.state == "closing":
        raise Held(f"the allotment of {record.allotment.scope} is being closed", AGAIN_MS)
    return record.allotment is not None


def _movable(standings: Iterable[Standing]) -> dict[Dimension, int]:
    """What limits without an end leave, in nano-dollars and tokens: an earlier attempt may have
    spent some."""
    return {
        each.bound.limit.dimension: each.bound.limit.amount - each.spent
        for each in standings
        if each.bound.limit.window == "total"
        and moves_aside(each.bound.limit)
        and each.bound.limit.amount > each.spent
    }


def _not_moved(refusal: Refusal, scope: str, amounts: Mapping[Dimension, int]) -> StepFailed | Held:
    """What a refused allotment is to the step."""
    if refusal.code == "CLOSED":
        return ScopeNotOpen(refusal.scope)
    asked = " and ".join(
        f"${dollars(each)}" if name == "usd" else f"{each} {name}" for name, each in amounts.items()
    )
    message = (
        f"{asked} cannot be set aside for {scope}: budget of {refusal.scope} does not have that "
        f"({refusal.code}); `comptroller budget show {refusal.scope}` shows what it has left"
    )
    if refusal.code == "EXHAUSTED" and refusal.until_ms:
        return UsedUpForNow(message, refusal.scope, refusal.until_ms)
    if refusal.code in ("EXHAUSTED", "TOO_LARGE"):
        return BudgetUsedUp(message, refusal.scope)
    return Held(message, AGAIN_MS)
