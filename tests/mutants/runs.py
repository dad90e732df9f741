"""Ways to break runs of workflows: who holds a run, what is done once, and what a run may spend."""

from tests.mutants.mutant import Mutant

_ACTS = ("tests/orchestrator/running/test_acts.py",)
_MONEY = ("tests/orchestrator/running/test_money.py",)
_CONTROL = ("tests/orchestrator/running/test_control.py",)
_PURSE = ("tests/orchestrator/running/test_purse.py",)
_PROGRESS = ("tests/orchestrator/test_progress.py",)

RUNS = (
    Mutant(
        "whoever had a run once may write to it",
        "orchestrator/running/journal.py",
        "    return holds & found\n",
        "    return holds\n",
        _ACTS,
    ),
    Mutant(
        "a takeover leaves the epoch as it is",
        "orchestrator/running/sql/claim.sql",
        "executor = ?, epoch = epoch + 1, wake_at_ms",
        "executor = ?, epoch = epoch + 0, wake_at_ms",
        _ACTS,
    ),
    Mutant(
        "what a run is told while it is parked does not wake it",
        "orchestrator/running/sql/claim.sql",
        "and w.id = s.run and w.status = 'waiting'",
        "and w.id = s.run and w.status = 'none'",
        _ACTS,
    ),
    Mutant(
        "a step may be told twice",
        "orchestrator/running/sql/signal.sql",
        "on conflict (run, step, entry) do nothing",
        "on conflict (run, step, entry) do update set payload = excluded.payload",
        _ACTS,
    ),
    Mutant(
        "a run that is over may end again",
        "orchestrator/running/sql/end_run.sql",
        "where id = ? and status not in ('done', 'failed', 'halted', 'cancelled')",
        "where id = ? and status not in ('failed')",
        _ACTS,
    ),
    Mutant(
        "a fork takes over what it is to do anew",
        "orchestrator/running/forking.py",
        "if each == self.step or self.step in graph.above(each)]",
        "if each == self.step]",
        _CONTROL,
    ),
    Mutant(
        "an earlier attempt's key lives on beside the next one's",
        "orchestrator/running/purse.py",
        "            await self._fence(attempt)\n",
        "            pass\n",
        _PURSE,
    ),
    Mutant(
        "a key outlives its attempt",
        "orchestrator/running/attempts.py",
        "            await self._kit.purse.end_attempt(place)\n",
        "            pass\n",
        _MONEY,
    ),
    Mutant(
        "a run that is over stays open at the ledger",
        "orchestrator/running/closing.py",
        "        if status in STAYS_OPEN:\n",
        "        if status not in STAYS_OPEN:\n",
        _MONEY,
    ),
    Mutant(
        "a refusal ends a run that was given more since",
        "orchestrator/running/purse.py",
        "            and each.amount <= told.amount\n",
        "            and each.amount != 0\n",
        _MONEY,
    ),
    Mutant(
        "what is held begins attempts all the same",
        "orchestrator/running/attempts.py",
        "        return None if held is None else Outcome(held)\n",
        "        return None if held is None else None\n",
        _MONEY,
    ),
    Mutant(
        "runs inside do not count among what is at work at once",
        "orchestrator/kinds/workflow.py",
        "    works_elsewhere: ClassVar[bool] = True\n",
        "    works_elsewhere: ClassVar[bool] = False\n",
        ("tests/orchestrator/running/test_at_once.py",),
    ),
    Mutant(
        "a run that is to stop begins what stood in line",
        "orchestrator/running/run.py",
        "            if self._is_stopping:\n                return\n",
        "            if self._is_stopping:\n                pass\n",
        ("tests/orchestrator/running/test_pausing.py",),
    ),
    Mutant(
        "outputs of a run may be as long as they like",
        "orchestrator/running/outputs.py",
        "        if left < 0:\n",
        "        if left < -(2**60):\n",
        ("tests/orchestrator/running/test_long_outputs.py",),
    ),
    Mutant(
        "nobody hears of budgets that are used up",
        "orchestrator/running/watching.py",
        "                await self._hears(each)\n",
        "                assert each\n",
        _MONEY,
    ),
    Mutant(
        "a step begins before all that it needs has ended",
        "orchestrator/progress.py",
        "            if not self._open_needs[each] and not self.has_ended(each):\n",
        "            if not self.has_ended(each):\n",
        _PROGRESS,
    ),
    Mutant(
        "a failed entry is no failure of its step",
        "orchestrator/progress.py",
        'return "failed" if "failed" in entries else "done"',
        'return "done"',
        _PROGRESS,
    ),
)
