"""Outputs of runs, steps and entries, whole: JSON as it is stored."""

from orchestrator.places import PLAIN, TaskId
from orchestrator.progress import ENDED, TASK_ENDED
from orchestrator.running import showing
from orchestrator.running.database import Database, sql
from orchestrator.running.deciding import NotPossible
from orchestrator.running.rows import number

WHOLE_CHARS_MAX = 32 * 1024**2
ENTRIES_MAX = 2**31


def of_run(database: Database, organisation: str, run: str) -> str:
    """JSON. Raises NoSuchRun, NotPossible."""
    showing.line(database, organisation, run)
    ((status, output),) = database.rows(sql("run_output"), (run,))
    if status not in ENDED:
        raise NotPossible(f"run {run} has no output yet: it is {status}")
    return "null" if output is None else str(output)


def of_step(database: Database, organisation: str, run: str, name: str, entry: int | None) -> str:
    """JSON, whole; without an entry, of a foreach the list of them all. Raises NoSuchRun,
    NoSuchStep, NotPossible."""
    head = showing.whole(database, organisation, run)
    shown = next((each for each in head.steps if each.id == name), None)
    if shown is None:
        raise showing.NoSuchStep(run, name)
    if entry is None and shown.entries is not None:
        return _of_fan(database, run, shown)
    label = TaskId(name, PLAIN if entry is None else entry)
    rows = database.rows(sql("outputs_of"), (run, name, label.entry, label.entry))
    if not rows or rows[0][1] not in TASK_ENDED:
        status = rows[0][1] if rows else "not begun, or no entry"
        raise NotPossible(f"{label.label} of run {run} has no output: it is {status}")
    return "null" if rows[0][2] is None else str(rows[0][2])


def _of_fan(database: Database, run: str, shown: showing.StepShown) -> str:
    if shown.status not in TASK_ENDED:
        raise NotPossible(f"{shown.id} of run {run} has not ended: name one of its entries")
    ((size,),) = database.rows(sql("output_bytes"), (run, shown.id))
    if number(size) > WHOLE_CHARS_MAX:
        raise NotPossible(
            f"the outputs of {shown.id} have more than {WHOLE_CHARS_MAX // 2**20} MiB: "
            "ask for its entries one by one"
        )
    rows = database.rows(sql("outputs_of"), (run, shown.id, 0, ENTRIES_MAX))
    return "[" + ",".join("null" if each is None else str(each) for *_, each in rows) + "]"
