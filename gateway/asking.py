"""Asking the ledger for one request: by its bytes first, counted where that would give it more.

A budget that refuses the byte bound, or that would lower the output because of it, is asked once
more when the input has been counted. Nothing is set aside in between.
"""

import asyncio

from budgets.answers import Ask, Mark, Refusal, Reservation
from budgets.plan import Plan, ScopePath
from budgets.transport import LedgerRejected, LedgerSilent
from gateway.counting import InputCounting
from gateway.dialects.contract import Dialect
from gateway.events import RequestRecord
from gateway.parts import Parts
from gateway.quoting import Quoting


class Asking:
    """One request's. `id_` is that of all its asks; `quoting` the best quote so far."""

    __slots__ = ("_id", "_mark", "_parts", "_path", "_record", "quoting")

    def __init__(
        self,
        parts: Parts,
        path: ScopePath,
        quoting: Quoting,
        record: RequestRecord,
        id_: str,
        mark: Mark | None,
    ) -> None:
        self._parts = parts
        self._path = path
        self._record = record
        self._id = id_
        self._mark = mark
        self.quoting = quoting

    async def ask(self, dialect: Dialect, counting: InputCounting) -> Reservation | Refusal:
        """The ledger's answer, the second one where the input was counted for it: of all calls
        together, one is. A reserve without an answer may have happened: it is released, now or
        when the ledger is back."""
        answer = await self._ask()
        quoting = self.quoting
        if not isinstance(answer, Refusal) or not quoting.counts(answer):
            return answer
        self.quoting = await quoting.counted(dialect, counting)
        if self.quoting.input_tokens_max < quoting.input_tokens_max:
            self._record.counted(self.quoting.input_tokens_max)
        elif answer.code != "LOWERED":
            return answer
        return await self._ask()

    async def ask_after(
        self, waited_ms: int, dialect: Dialect, counting: InputCounting
    ) -> Reservation | Refusal:
        """The same, of a request that has stood in line for so long."""
        self._record.waited(waited_ms)
        return await self.ask(dialect, counting)

    def _calibrated_ask(self, plan: Plan) -> Ask:
        """Recorded is the bound that is reserved by."""
        self._record.counted(self.quoting.bound(plan.route))
        return self.quoting.ask(plan)

    async def _ask(self) -> Reservation | Refusal:
        parts, path, mark = self._parts, self._path, self._mark
        route = self.quoting.route
        ask_for = self._calibrated_ask if route.calibrated else self.quoting.ask
        try:
            return await parts.ledger.reserve(
                path,
                route.name,
                ask_for,
                self._record.written,
                self._id,
                mark,
                route.scope_in(path.organisation),
            )
        except (LedgerSilent, LedgerRejected, asyncio.CancelledError):
            name = "" if mark is None else mark.name
            await parts.endings.release(path.organisation, self._id, b"", name)
            raise
