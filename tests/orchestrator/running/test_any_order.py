"""In whatever order executors and people act on a run, it has one owner, and what is done is done
once. On SQLite, against what a reader of the acts would expect."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from orchestrator.kinds.contract import Signal
from orchestrator.places import TaskId
from orchestrator.progress import ENDED, Task
from orchestrator.running.acts import Claim, End, Heartbeat, Leave, Park, Put, Requeue, signal
from orchestrator.running.database import Value
from orchestrator.running.deciding import Cancel, NotPossible, Pause, Resume, RetryFailed
from orchestrator.running.forking import Fork
from orchestrator.running.journal import Doing, Hold, Overtaken, in_one
from orchestrator.running.rows import Telling
from orchestrator.running.submitting import Submit
from tests.orchestrator.running.databases import sqlite_at
from tests.orchestrator.running.written_runs import submission

EXECUTORS = ("e1", "e2", "e3")
STEPS = ("a", "b")
LEASE_MS = 3_600_000
executors = st.sampled_from(EXECUTORS)
tasks = st.sampled_from(STEPS).map(TaskId)


class Acts(RuleBasedStateMachine):
    """Holds stay in the bundle after they are lost: who has slept writes with them."""

    runs = Bundle("runs")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="ct-acts-")
        self.database = sqlite_at(Path(self.folder.name))()
        self.database.execute("pragma synchronous=off")
        self.owners: dict[str, Hold] = {}
        self.epochs: dict[str, int] = {}
        self.ends: dict[str, str] = {}
        self.tellings = 0
        self.told: set[tuple[str, TaskId]] = set()

    def teardown(self) -> None:
        """Nothing is left."""
        self.database.close()
        self.folder.cleanup()

    def write(self, act: Any) -> Any:
        """One transaction."""
        (result,) = in_one(self.database, [act])
        return result

    def row(self, run: str, names: str) -> tuple[Value, ...]:
        """Of a run."""
        return self.database.rows(f"select {names} from runs where id = ?", (run,))[0]

    def written(self, hold: Hold, act: Any) -> bool:
        """Whether it counted: it does exactly where the run is the writer's."""
        counted = not isinstance(self.write(act), Overtaken)
        assert counted == (self.owners.get(hold.run) == hold)
        return counted

    @initialize()
    def there(self) -> None:
        """All executors live."""
        for each in EXECUTORS:
            self.write(Heartbeat(each, LEASE_MS))

    @rule(target=runs)
    def submit(self) -> str:
        """A run of two steps."""
        steps = [{"id": each, "sleep": "1s"} for each in STEPS]
        return str(self.write(Submit(submission(*steps))).run)

    @rule(target=holds, executor=executors, most=st.integers(1, 3))
    def claim(self, executor: str, most: int) -> Any:
        """What is due is claimed by one, and what waits is due where it has something to hear."""
        claimed, _ = self.write(Claim(executor, most))
        for each in claimed:
            assert each.place.id not in self.owners
            assert each.place.id not in self.ends
            self.owners[each.place.id] = Hold(each.place.id, each.epoch, executor)
        if len(claimed) < most:
            hear = {run for run, _ in self.told}
            rows = self.database.rows("select id, status from runs")
            waiting = {str(run) for run, status in rows if status == "waiting"}
            assert not waiting & hear
            assert all(status != "queued" for _, status in rows)
        return multiple(*(self.owners[each.place.id] for each in claimed))

    @rule(hold=holds, task=tasks, status=st.sampled_from(("done", "failed", "waiting")))
    def attempt(self, hold: Hold, task: TaskId, status: str) -> None:
        """As Running does it: what has ended is not begun."""
        rows = self.database.rows(
            "select status, attempt from tasks where run = ? and step = ?", (hold.run, task.step)
        )
        if rows and rows[0][0] in ("done", "failed"):
            return
        number = 1 + (int(str(rows[0][1])) if rows else 0)
        telling = Telling(f"{self.tellings:032x}", "acme", "step_started", b"{}")
        begins = Put(hold, task, Task("running", attempt=number), telling, begins=True)
        if self.written(hold, begins):
            self.tellings += 1
            self.write(begins)  # its answer was lost
            state: Any = Task(status, attempt=number)  # type: ignore[arg-type]  # one of them
            ended = "" if status == "waiting" else status
            self.write(Put(hold, task, state, ended=ended, reads_signal=bool(ended)))
            if ended:
                self.told.discard((hold.run, task))

    @rule(run=runs, task=tasks)
    def tell(self, run: str, task: TaskId) -> None:
        """A step that waits is told something, the first time."""
        waits = self.database.rows(
            "select 1 from tasks where run = ? and step = ? and status = 'waiting'",
            (run, task.step),
        )
        if waits and run not in self.ends:
            is_new = self.write(Doing(lambda db, _: signal(db, run, task, Signal("x", 1, None))))
            assert is_new == ((run, task) not in self.told)
            self.told.add((run, task))

    @rule(hold=holds)
    def park(self, hold: Hold) -> None:
        """Nobody has it until it is told something."""
        if self.written(hold, Park(hold, None)):
            del self.owners[hold.run]
            assert self.row(hold.run, "status")[0] in ("waiting", "paused")

    @rule(hold=holds)
    def leave(self, hold: Hold) -> None:
        """Paused, as far as anybody still wants that."""
        if self.written(hold, Leave(hold, "paused")):
            del self.owners[hold.run]

    @rule(hold=holds, status=st.sampled_from(("done", "failed")))
    def end(self, hold: Hold, status: str) -> None:
        """By whoever has it."""
        act: Any = End(hold.run, status, hold=hold)  # type: ignore[arg-type]  # one of them
        if self.written(hold, act):
            del self.owners[hold.run]
            self.ends[hold.run] = status

    @rule(executor=executors, by=executors)
    def take_over(self, executor: str, by: str) -> None:
        """Whoever is not heard of loses its runs, and may come back."""
        if executor != by:
            self.write(Heartbeat(executor, -1))
            self.write(Heartbeat(by, LEASE_MS))
            self._lost_by(executor)
            self.write(Heartbeat(executor, LEASE_MS))

    @rule(hold=consumes(holds))
    def requeue(self, hold: Hold) -> None:
        """The answer to its claim was lost."""
        self.write(Requeue(hold.executor, (hold.run,)))
        if self.owners.get(hold.run, hold).executor == hold.executor:
            self.owners.pop(hold.run, None)

    def _lost_by(self, executor: str) -> None:
        self.owners = {run: each for run, each in self.owners.items() if each.executor != executor}

    @rule(run=runs, act=st.sampled_from((Pause, Resume, Cancel, RetryFailed)))
    def decide(self, run: str, act: Any) -> None:
        """What is over stays so, but for a retry of what failed."""
        before = self.row(run, "status")[0]
        with contextlib.suppress(NotPossible):
            said = self.write(act("acme", run, "ann"))
            if act is Cancel:
                self.owners.pop(run, None)
                self.ends.setdefault(run, "cancelled")
            elif act is RetryFailed:
                assert before == "failed"
                del self.ends[run]
                self.told = {each for each in self.told if each[0] != run}
            assert said == self.row(run, "status")[0]

    @rule(target=runs, run=runs, step=st.sampled_from(STEPS))
    def fork(self, run: str, step: str) -> str:
        """Takes over what is done, and nothing that is at work."""
        fork = str(self.write(Fork("acme", run, "ann", step=step)).run)
        rows = self.database.rows("select step, status from tasks where run = ?", (fork,))
        assert all(each[0] != step and each[1] == "done" for each in rows)
        return fork

    @invariant()
    def is_sound(self) -> None:
        """Epochs go up; one owner, the one that was answered; what is over stays over."""
        statement = "select id, status, epoch, executor, ended_ms from runs"
        for run, status, epoch, executor, ended_ms in self.database.rows(statement):
            assert int(str(epoch)) >= self.epochs.get(str(run), 0)
            self.epochs[str(run)] = int(str(epoch))
            held = self.owners.get(str(run))
            owned = None if held is None else (held.executor, held.epoch)
            assert owned == (None if executor is None else (executor, epoch))
            assert (executor is None) == (status != "running")
            assert self.ends.get(str(run)) == (status if status in ENDED else None)
            assert (ended_ms is None) == (status not in ENDED)
        twice = (
            "select 1 from attempts where status = 'done' group by run, step having count(*) > 1"
        )
        assert self.database.rows(twice) == []
        started = "select count(*) from tellings where event_type = 'step_started'"
        assert self.database.rows(started) == [(self.tellings,)]


TestActs = Acts.TestCase
TestActs.settings = settings(
    max_examples=40,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[*HealthCheck],
)
