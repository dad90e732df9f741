"""Refusals as events: one `budget_exceeded` for many of a kind, so that a caller who is refused in
a loop leaves a line a second and not a line a call.

A refusal costs the path of a request one update of a dict. Those of one key by one scope for one
reason are counted together; once a second what was counted goes into the organisation's sequence.
While the ledger is away, or has no room, the counts stay here and grow: nothing waits for them. An
event whose call was not answered is repeated under its id, so that it is there once (tombstones
live for two hours; an answer lost for longer could be counted twice). What is here when the worker
dies without draining is lost: it is what was refused since the last event, and no money.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from budgets.administration import Administration
from budgets.answers import Refusal, Standing
from budgets.ledger import LedgerOptions
from budgets.plan import ScopePath
from budgets.session import Clock, Session
from budgets.transport import LedgerSilent, LedgerUnavailable
from gateway.errors import GatewayError
from gateway.events import RefusalDetail, RefusalEvent, RequestEvent, encode

# How often a worker writes what it has counted.
FLUSH_MS = 1_000
# Groups of a worker that have names; what is beyond is counted in one group of its organisation.
GROUPS_MAX = 1_000
OTHERS = "others"  # the reason in the event of that group
# Refusals never take the rest of the outbox: what is charged must find room there.
OUTBOX_PERCENT_MAX = 50

EVENT_TYPE = "budget_exceeded"
Append = Callable[[str, str, str, bytes], Awaitable[str]]
_log = logging.getLogger("comptroller.refusals")


class _Sealed(NamedTuple):
    """An event on its way: repeated as it is until the ledger has it."""

    id: str
    event: bytes
    refusals: int


class _Group:
    """Refusals of a kind that no event tells of yet. Who, what and how much are the first's."""

    __slots__ = ("count", "first", "first_ms", "has_name", "last_ms", "organisation", "sealed")

    def __init__(self, organisation: str, *, has_name: bool) -> None:
        self.organisation = organisation
        self.has_name = has_name
        self.count = 0
        self.first: tuple[RequestEvent, Refusal, GatewayError]
        self.first_ms = 0
        self.last_ms = 0
        self.sealed: _Sealed | None = None


class RefusalLog:
    """Counts refusals and writes them down. One per worker; `append` and `new_id` are those of
    budgets.administration.Administration and budgets.session.Session."""

    def __init__(
        self, append: Append, new_id: Callable[[], str], clock: Clock, *, flush_ms: int = FLUSH_MS
    ) -> None:
        self._append = append
        self._new_id = new_id
        self._clock = clock
        self._flush_s = flush_ms / 1000
        self._groups: dict[tuple[str, str, str], _Group] = {}
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """How many refusals the ledger has no event of."""
        return sum(
            group.count + (group.sealed.refusals if group.sealed else 0)
            for group in self._groups.values()
        )

    def note(
        self, request: RequestEvent, path: ScopePath, refusal: Refusal, error: GatewayError
    ) -> None:
        """A budget has refused this request, and the caller is told `error`."""
        now_ms = self._clock.now_ms()
        name = (path.key_scope, refusal.scope, error.reason or "")
        group = self._groups.get(name)
        if group is None:
            group = self._opened(name, path.organisation)
        if not group.count:
            group.first = (request, refusal, error)
            group.first_ms = now_ms
        group.count += 1
        group.last_ms = now_ms

    def _opened(self, name: tuple[str, str, str], organisation: str) -> _Group:
        has_name = len(self._groups) < GROUPS_MAX
        if not has_name:
            name = (organisation, "", OTHERS)
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(organisation, has_name=has_name)
            if self._worker is None:
                self._worker = asyncio.get_running_loop().create_task(self._work())
        return group

    async def _work(self) -> None:
        """Runs while there is something to write."""
        try:
            while self._groups:
                await asyncio.sleep(self._flush_s)
                await self.flush()
        finally:
            self._worker = None

    async def flush(self) -> None:
        """One round, never two at once: what the ledger does not take stays for the next. One
        after the other: requests go between them."""
        away: set[str] = set()
        for name, group in list(self._groups.items()):
            if group.organisation in away:
                continue
            try:
                await self._write(group)
            except LedgerSilent as error:  # the server: it would be silent for each of them
                _log.warning("%d refusals wait: %r", self.waiting, error)
                return
            except Exception as error:  # noqa: BLE001  # the next round must come, whatever it is
                away.add(group.organisation)
                _log.warning("refusals of %s wait: %r", group.organisation, error)
            else:
                if not group.count:
                    del self._groups[name]

    async def _write(self, group: _Group) -> None:
        """First what was on its way before, then what has come since."""
        if group.sealed is not None:
            await self._deliver(group, group.sealed)
        if group.count:
            # Its own id in the records, too: a recovery knows by it that it was told.
            id_ = group.first[0].request_id if group.has_name else self._new_id()
            group.sealed = _Sealed(id_, _event(group), group.count)
            group.count = 0
            await self._deliver(group, group.sealed)

    async def _deliver(self, group: _Group, sealed: _Sealed) -> None:
        code = await self._append(group.organisation, sealed.id, EVENT_TYPE, sealed.event)
        if code not in ("DONE", "ALREADY"):
            raise LedgerUnavailable(f"the ledger answers {code}")
        group.sealed = None

    async def drain(self, timeout_ms: int) -> int:
        """Writes what is left now, for at most this long; how many refusals have no event."""
        await self._stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_ms / 1000):
                await self.flush()
        await self._stop()
        return self.waiting

    async def _stop(self) -> None:
        """A call that this interrupts is repeated under its id."""
        worker = self._worker
        if worker is not None:
            worker.cancel()
            await asyncio.wait({worker})
            self._worker = None


def refusal_log(
    session: Session, options: LedgerOptions, *, flush_ms: int = FLUSH_MS
) -> RefusalLog:
    """The log of a worker at its ledger."""
    events_max = options.outbox_events_max * OUTBOX_PERCENT_MAX // 100
    administration = Administration(session, outbox_events_max=events_max)
    return RefusalLog(administration.append, session.new_id, session.clock, flush_ms=flush_ms)


def _event(group: _Group) -> bytes:
    request, refusal, error = group.first
    if not group.has_name:
        detail = RefusalDetail(group.count, group.first_ms, group.last_ms)
        return encode(RefusalEvent(group.organisation, OTHERS, encode(detail).decode()))
    return encode(
        RefusalEvent(
            scope=request.scope,
            error=error.reason or "",
            detail=encode(_detail(group, refusal)).decode(),
            request_id=request.request_id,
            key_id=request.key_id,
            agent=request.agent,
            endpoint=request.endpoint,
            provider=request.provider,
            model_requested=request.model_requested,
            model=request.model,
            status=error.status,
            workflow=request.workflow,
            workflow_version=request.workflow_version,
            run_id=request.run_id,
            step_id=request.step_id,
            attempt=request.attempt,
        )
    )


def _detail(group: _Group, refusal: Refusal) -> RefusalDetail:
    detail = RefusalDetail(group.count, group.first_ms, group.last_ms, refusal.scope)
    bound = refusal.bound
    if bound is None:
        return detail
    standing = Standing(bound, refusal.spent, refusal.reserved, refusal.allotted)
    return msgspec.structs.replace(
        detail,
        dimension=bound.limit.dimension,
        window=bound.limit.window,
        asked=refusal.asked,
        free=max(0, standing.free),
    )
