"""Progress agrees with the plain meaning of a graph's rows, for any graph and any order."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.definition import Workflow, read_definition
from orchestrator.places import TaskId
from orchestrator.progress import Progress, Task

SIZE, WIDTH, AT_ONCE = 6, 3, 2
ENDED = ("done", "skipped", "failed")
STATES = ("running", "waiting", "again", *ENDED)


@st.composite
def graphs(draw: st.DrawFn) -> Workflow:
    """Of steps that need some of those above, and perhaps fan out."""
    steps: list[dict[str, Any]] = []
    for at in range(draw(st.integers(1, SIZE))):
        needs = [each["id"] for each in steps if draw(st.booleans())]
        fan = {"items": [*range(WIDTH)], "concurrency": AT_ONCE}
        more = {"foreach": fan} if draw(st.booleans()) else {}
        action = draw(st.sampled_from(({"sleep": "1s"}, {"workflow": "inner"})))
        steps.append({"id": f"s{at}", "needs": needs, **action, **more})
    return read_definition({"name": "w", "budget": [{"usd": "1"}], "steps": steps})


def status(rows: dict[TaskId, Task], step: str) -> str:
    """Of a step, by its rows alone."""
    head = rows.get(TaskId(step))
    if head is None or head.status != "fanned":
        return "" if head is None else head.status
    entries = [rows.get(TaskId(step, entry)) for entry in range(len(head.output))]
    if any(each is None or each.status not in ENDED for each in entries):
        return "fanned"
    return "failed" if any(each and each.status == "failed" for each in entries) else "done"


def check(workflow: Workflow, rows: dict[TaskId, Task], progress: Progress) -> None:
    """Everything that a run asks of it."""
    found = {step.id: status(rows, step.id) for step in workflow.steps}
    assert {step: progress.status(step) for step in found} == found
    failed = {task.step for task, each in rows.items() if each.status == "failed"}
    assert {*progress.failed} == failed
    assert progress.is_complete == all(each in ENDED for each in found.values())
    ready = {
        step.id
        for step in workflow.steps
        if not failed and not found[step.id] and all(found[each] in ENDED for each in step.needs)
    }
    assert {step.id for step in progress.ready()} == ready
    unfinished = {task for task, each in rows.items() if each.status in STATES[:3]}
    assert {task for task, _ in progress.unfinished()} == unfinished
    elsewhere = {task for task, each in rows.items() if _is_elsewhere(workflow, task, each)}
    assert {*progress.elsewhere} == elsewhere
    for step, each in found.items():
        if TaskId(step) in rows and rows[TaskId(step)].status == "fanned":
            entries = [TaskId(step, entry) for entry in range(len(rows[TaskId(step)].output))]
            active = [
                task for task in entries if task in rows and _is_active(workflow, task, rows[task])
            ]
            unbegun = [task for task in entries if task not in rows]
            free = 0 if failed else max(0, AT_ONCE - len(active))
            assert [*progress.startable(step)] == unbegun[:free], each
            assert (step in progress.fanned) == bool(unbegun)


def _is_elsewhere(workflow: Workflow, task: TaskId, state: Task) -> bool:
    (kind,) = (each.action.kind for each in workflow.steps if each.id == task.step)
    return state.status == "waiting" and kind == "workflow"


def _is_active(workflow: Workflow, task: TaskId, state: Task) -> bool:
    return state.status in ("running", "again") or _is_elsewhere(workflow, task, state)


@settings(max_examples=100, deadline=None)
@given(graphs(), st.data())
def test_any_graph_in_any_order_is_as_its_rows_say(workflow: Workflow, data: st.DataObject) -> None:
    """Followed step by step, and read at once by whoever takes the run over."""
    rows: dict[TaskId, Task] = {}
    progress = Progress(workflow, {})
    for _ in range(data.draw(st.integers(0, 25))):
        ends = {step.id for step in workflow.steps if status(rows, step.id) in ENDED}
        able = [step for step in workflow.steps if ends.issuperset(step.needs)]
        step = data.draw(st.sampled_from(able))
        head = rows.get(TaskId(step.id))
        if step.foreach and head is None:
            task, state = TaskId(step.id), Task("fanned", output=[*range(WIDTH)])
        else:
            entry = data.draw(st.integers(0, WIDTH - 1)) if step.foreach else -1
            task = TaskId(step.id, entry)
            if task in rows and rows[task].has_ended:
                continue
            state = Task(data.draw(st.sampled_from(STATES)), attempt=1)
        rows[task] = state
        progress.set(task, state)
        check(workflow, rows, progress)
    check(workflow, rows, Progress(workflow, dict(rows)))
