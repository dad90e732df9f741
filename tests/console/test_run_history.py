"""What happened in a run is told from the log of events alone; what its steps have cost is there as
soon as the records have it, with what ran inside them."""

from tests.console.desk import Console, listening
from tests.console.running import book_of, submitted
from tests.console.test_event_stream import begun, events
from tests.orchestrator.running.book import Book
from tests.recorder.rig import until
from tests.recorder.workbench import response_event

RUNS = "/v1/runs"


async def tell(console: Console, organisation: str, book: Book) -> None:
    """What waits for the ledger, as an executor takes it there."""
    rows = book.rows("select id, event_type, event from tellings order by number")
    for id_, kind, event in rows:
        text = str(event).encode()
        await console.parts.administration.append(organisation, str(id_), str(kind), text)
    book.rows("delete from tellings")


async def charge(console: Console, run: str, scope: str, number: int, **fields: object) -> None:
    """A call of a run's key that has ended."""
    event = response_event(f"q{number}", scope, 500, 100 * number, run_id=run, **fields)
    organisation, id_ = scope.split("/", 1)[0], f"{number:032x}"
    await console.parts.administration.append(organisation, id_, "llm_response", event)


async def test_a_run_is_told_by_its_events(recorded: Console) -> None:
    """In order, in pages, with their details; nothing of another run. The database of runs is not
    asked: a run that it does not know any more is still told."""
    caller = await recorded.caller()
    scope = f"{caller.organisation}/lab"
    run, other = [await submitted(recorded, scope=scope) for _ in range(2)]
    await recorded.done("POST", f"{RUNS}/{run}/cancel")
    with book_of(recorded) as book:
        await tell(recorded, caller.organisation, book)
        book.rows("delete from runs")
    await charge(recorded, run, f"{scope}/report/{run}/a", 1, step_id="a", attempt=1)
    path = f"{RUNS}/{run}/history?organisation={caller.organisation}"

    async def is_told() -> bool:
        return len((await recorded.done("GET", path))["events"]) == 2

    await until(is_told)
    first, second = (await recorded.done("GET", path))["events"]
    assert (first["type"], first["by"], first["detail"]["input"]) == ("run_submitted", "first", {})
    assert (second["type"], second["step"], second["charged_nusd"]) == ("llm_response", "a", 100)
    page = await recorded.done("GET", f"{path}&limit=1&order=desc")
    assert ([each["id"] for each in page["events"]], page["next"]) == ([second["id"]], second["id"])
    everywhere = await recorded.done("GET", f"{RUNS}/{other}/history")
    assert [each["type"] for each in everywhere["events"]] == ["run_submitted"]
    foreign = await recorded.token("viewer", "globex")
    unseen = await recorded.done("GET", f"{RUNS}/{run}/history", token=foreign)
    assert unseen == {"events": [], "next": None}


async def test_a_run_is_followed_as_it_happens(recorded: Console) -> None:
    """Its own events and no other's."""
    caller = await recorded.caller()
    scope = f"{caller.organisation}/lab"
    run, other = [await submitted(recorded, scope=scope) for _ in range(2)]
    async with listening(recorded) as (client, _):
        path = f"{RUNS}/{run}/stream?organisation={caller.organisation}"
        async with client.stream("GET", path) as answer:
            await begun(answer)
            await charge(recorded, other, f"{scope}/report/{other}/a", 1)
            await charge(recorded, run, f"{scope}/report/{run}/a", 2)
            ((_, event),) = await events(answer, 1)
    assert (event["run_id"], event["charged_nusd"]) == (run, 200)


async def test_costs_are_by_step_with_what_runs_inside(recorded: Console) -> None:
    """By the scope of what was charged: an entry's, a helper's, and a run's inside are the step's;
    two runs are compared by them."""
    caller = await recorded.caller()
    scope = f"{caller.organisation}/lab"
    steps = ({"id": "a", "sleep": "1s"}, {"id": "b", "sleep": "1s"})
    left, right = [await submitted(recorded, *steps, scope=scope) for _ in range(2)]
    of_left = f"{scope}/report/{left}"
    for number, (run, place) in enumerate(
        (
            (left, f"{of_left}/a"), (left, f"{of_left}/a/key-1"), ("inside", f"{of_left}/b/r1/x"),
            (right, f"{scope}/report/{right}/b/0"), ("else", f"{scope}/report/{right}0/b"),
        ),
        1,
    ):  # fmt: skip
        await charge(recorded, run, place, number)
    with book_of(recorded) as book:
        book.claim()
        for run in (left, right):
            book.put(run, "a", "done", output={"of": run})
            book.put(run, "b", "done", output=1)
    path = f"{RUNS}/compare?left={left}&right={right}"

    async def is_charged() -> bool:
        found = await recorded.done("GET", path)
        return [found[each]["cost"]["charged_nusd"] for each in ("left", "right")] == [600, 400]

    await until(is_charged)
    a, b = (await recorded.done("GET", path))["steps"]
    assert (a["is_same"], b["is_same"]) == (False, True)
    assert a["left"]["cost"] == {
        "requests": 2, "input_tokens": 20, "output_tokens": 14, "charged_nusd": 300,
        "charged_usd": "0.0000003",
    }  # fmt: skip
    assert (a["right"]["cost"]["requests"], b["right"]["cost"]["charged_nusd"]) == (0, 400)
    assert (a["left"]["output"], a["left"]["status"]) == ({"of": left}, "done")
    shown = await recorded.done("GET", f"{RUNS}/{left}")
    assert [each["cost"]["charged_nusd"] for each in shown["steps"]] == [300, 300]
    assert shown["cost"]["charged_nusd"] == 600
