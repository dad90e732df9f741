"""What is submitted is one run, checked before it is there; what is shown of it is what its rows
say; and whoever may not see a run does not learn that there is one."""

import json
from typing import Any

from console.workflows import Workflows
from orchestrator.running.database import Database, DatabaseAway
from tests.console.desk import ADMIN_SECRET, Console
from tests.console.running import book_of, definition, submitted

RUNS = "/v1/runs"
PROMPT = {"id": "ask", "prompt": {"text": "x", "model": "m"}}
PROGRAM = {"id": "go", "command": ["true"]}


async def problems(console: Console, document: Any, **more: Any) -> list[tuple[str, str]]:
    """What is said of a definition that is refused."""
    body = {"scope": "acme/lab", "definition": document, **more}
    answer = await console.call("POST", RUNS, body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["code"] == "definition_invalid", error
    return [(each["place"], each["message"]) for each in error["problems"]]


async def test_a_run_is_submitted_and_shown(console: Console) -> None:
    """With its input, limits and steps; by the name of whoever has submitted it."""
    asks = {"topic": {"type": "string"}, "n": {"type": "number", "default": 2}}
    body = {
        "scope": "acme/lab",
        "definition": definition(PROMPT, {"id": "b", "needs": ["ask"], "sleep": "1s"}, input=asks),
        "input": {"topic": "x", "n": 0.5},
    }
    answer = await console.call("POST", RUNS, body)
    assert answer.status_code == 201, answer.text
    made = answer.json()
    id_ = made["id"]
    assert made == {
        "id": id_, "scope": f"acme/lab/report/{id_}", "workflow": "report", "version": 1,
        "status": "queued", "is_new": True,
    }  # fmt: skip
    run = await console.done("GET", f"{RUNS}/{id_}")
    assert (run["by"], run["input"]) == ("first", {"topic": "x", "n": 0.5})
    assert run["limits"] == [
        {"dimension": "usd", "window": "total", "limit": "1.00", "limit_nusd": 10**9}
    ]
    assert [(each["id"], each["kind"], each["status"]) for each in run["steps"]] == [
        ("ask", "prompt", "pending"), ("b", "sleep", "pending")
    ]  # fmt: skip
    assert (run["cost"], run["output"], run["ended_ms"]) == (None, None, None)


async def test_a_name_is_one_run(console: Console) -> None:
    """In the body or as Idempotency-Key; another definition under it is a conflict, a name that
    runs inside others have is none."""
    body = {"scope": "acme/lab", "definition": definition(), "name": "nightly:1"}
    first = await console.call("POST", RUNS, body)
    again = await console.call("POST", RUNS, body)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "is_new": False}
    del body["name"]
    header = {"idempotency-key": "nightly:1"}
    third = await console.done("POST", RUNS, body, headers=header)
    assert third["id"] == first.json()["id"]
    other = {**body, "definition": definition({"id": "b", "sleep": "1s"})}
    await console.refused(409, "conflict", "POST", RUNS, other, headers=header)
    for wrong in ({"idempotency-key": "a/b/0/0"}, {"idempotency-key": "a b"}):
        await console.refused(400, "invalid_request_error", "POST", RUNS, body, headers=wrong)
    both = {**body, "name": "other"}
    await console.refused(400, "invalid_request_error", "POST", RUNS, both, headers=header)
    inside = {**body, "name": "r0/a/0/0"}
    await console.refused(400, "invalid_request_error", "POST", RUNS, inside)


async def test_all_that_is_wrong_is_said_with_its_place(console: Console) -> None:
    """Form, graph, models, files inside, inputs: before anything is there."""
    assert await problems(console, {"workflow": {"name": "W", "steps": 3}}) != []
    found = await problems(
        console,
        definition(
            {"id": "a", "sleep": "1s", "needs": ["nothing"]},
            {"id": "b", "needs": ["x"], "sleep": "1s"},
        ),
    )
    assert [place for place, _ in found] == ["steps[0].needs[0]", "steps[1].needs[0]"]
    ((place, words),) = await problems(
        console, definition({**PROMPT, "prompt": {"text": "x", "model": "mm"}})
    )
    assert (place, "did you mean m?" in words) == ("steps[0].prompt.model", True)
    inside = definition({"id": "c", "sleep": "x"})
    calls = {"id": "a", "workflow": "in side.yaml"}
    ((place, _),) = await problems(console, definition(calls, files={"in side.yaml": inside}))
    assert place == 'files["in side.yaml"].steps[0].sleep.duration'
    ((place, words),) = await problems(console, definition(calls, files={}))
    assert (place, "is not in files" in words) == ("steps[0].workflow", True)
    asks = {"n": {"type": "integer"}}
    found = await problems(console, definition(input=asks), input={"m": 1})
    assert [place for place, _ in found] == ["input", "input"]
    assert (await console.done("GET", RUNS))["runs"] == []


NO_DEFINITIONS: list[Any] = [
    [],
    {"workflow": None},
    {"flow": {}},
    {"workflow": {"name": "w", "budget": [{"usd": 1e999}], "steps": [{"id": "a", "sleep": "1s"}]}},
    {"workflow": {"name": "w", "budget": [{"usd": "1e9"}], "steps": [{"id": "a", "sleep": "1s"}]}},
    definition({"id": "a\x00", "sleep": "1s"}),
    definition({"id": "a", "http": {"url": "https://x", "body": 10**100}}),
    definition(files={"a/../../b.yaml": definition()}),
    definition(name="x/y"),
]
HEADERS = {"authorization": f"Bearer {ADMIN_SECRET}", "content-type": "application/json"}


async def test_what_is_no_definition_is_refused(console: Console) -> None:
    """As a fault of the request."""
    for each in NO_DEFINITIONS:
        raw = json.dumps({"scope": "acme/lab", "definition": each}).replace("Infinity", "1e999")
        answer = await console.client.post(RUNS, content=raw, headers=HEADERS)
        assert answer.status_code == 400, answer.text


async def test_what_is_huge_is_refused_quickly(console: Console) -> None:
    """Many values, deep nesting, many bytes, chains of files: each a word to the caller, and the
    console goes on."""

    async def answered(content: str) -> int:
        answer = await console.client.post(RUNS, content=content, headers=HEADERS)
        assert "internal_error" not in answer.text
        return answer.status_code

    many = '{"scope":"acme","definition":{"workflow":[%s0]}}' % ("0," * 600_000)
    assert await answered(many) == 400
    for deep in (100, 900, 200_000):
        nest = "[" * deep + "]" * deep
        nested = f'{{"scope":"acme","definition":{{"workflow":{nest}}}}}'
        assert await answered(nested) == 400
        given = f'{{"scope":"acme","definition":{{}},"input":{{"a":{nest}}}}}'
        assert await answered(given) == 400
    assert await answered(" " * (6 * 1024**2)) == 413
    chain = definition()
    for _ in range(12):
        chain = definition({"id": "a", "workflow": "x.yaml"}, files={"x.yaml": chain})
    assert await answered(json.dumps({"scope": "acme", "definition": chain})) == 400
    assert (await console.done("GET", RUNS))["runs"] == []


async def test_programs_are_for_few(console: Console, workflows: Workflows) -> None:
    """Steps that run something on the server: only from the folder that may, and only by a token
    that is for all organisations; in files inside, too. Else 403 with what to do."""
    assert workflows.programs_folder is not None
    allowed = str(workflows.programs_folder / "mine")
    bound = await console.token("admin", "acme")
    inside = definition({"id": "a", "workflow": "x.yaml"}, files={"x.yaml": definition(PROGRAM)})
    for document in (definition(PROGRAM), definition({"id": "p", "python": "a.b:c"}), inside):
        body = {"scope": "acme/lab", "definition": document, "folder": allowed}
        for folder in ("", "/", "programs", f"{allowed}/../../x", f"{allowed}x/../..", "/\x00"):
            refused = {**body, "folder": folder}
            await console.refused(403, "programs_not_allowed", "POST", RUNS, refused)
        await console.refused(403, "programs_not_allowed", "POST", RUNS, body, token=bound)
        await console.done("POST", RUNS, body)


async def test_a_bound_token_brings_no_folder(console: Console, workflows: Workflows) -> None:
    """A workflow that starts others by name would run their programs in it; and it forks nothing
    that may run any."""
    assert workflows.programs_folder is not None
    folder = str(workflows.programs_folder)
    bound = await console.token("operator", "acme")
    by_name = {"id": "a", "workflow": "report"}
    mine = await submitted(console, by_name, folder=folder, token=bound)
    theirs = await submitted(console, by_name, folder=folder)
    with book_of(console) as book:
        query = (
            "select d.folder from runs r join definitions d on d.id = r.definition where r.id = ?"
        )
        assert book.rows(query, mine) == [("",)]
        assert book.rows(query, theirs) == [(folder,)]
    fork = {"step": "a"}
    await console.done("POST", f"{RUNS}/{mine}/fork", fork, token=bound)
    path = f"{RUNS}/{theirs}/fork"
    await console.refused(403, "programs_not_allowed", "POST", path, fork, token=bound)
    await console.done("POST", path, fork)


async def test_runs_are_only_where_they_fit(console: Console) -> None:
    """A scope that is one, open, of the caller's, and with room below."""
    body = {"scope": "acme", "definition": definition()}
    for scope in ("a b", "", "/".join("a" * 17), "/".join("a" * 13)):
        await console.refused(400, "invalid_request_error", "POST", RUNS, {**body, "scope": scope})
    await console.done("POST", RUNS, {**body, "scope": "/".join("a" * 12)})
    bound = await console.token("operator", "acme")
    globex = {**body, "scope": "globex"}
    await console.refused(403, "organisation_not_allowed", "POST", RUNS, globex, token=bound)
    key = await console.done("POST", "/v1/keys", {"name": "k", "scope": "acme/lab"})
    await console.done("DELETE", f"/v1/keys/{key['id']}")
    closed = {**body, "scope": key["budget_scope"]}
    await console.refused(409, "conflict", "POST", RUNS, closed)


NO_TIMES = [
        {"start_in": "soon"}, {"start_in": "36500d"}, {"start_at": "2026-12-01"},
        {"start_at": "2026-12-01T08:00:00"}, {"start_at": "9999-12-31T23:59:59-23:59"},
        {"start_in": "1m", "start_at": "2026-12-01T08:00:00Z"},
]  # fmt: skip


async def test_times_that_are_none(console: Console) -> None:
    """Refused."""
    for when in NO_TIMES:
        body = {"scope": "acme", "definition": definition(), **when}
        await console.refused(400, "invalid_request_error", "POST", RUNS, body)


async def test_a_run_begins_at_its_time(console: Console) -> None:
    """It waits for it, and says until when; a time that is over is now."""
    run = await submitted(console, start_in="10m")
    shown = await console.done("GET", f"{RUNS}/{run}")
    assert shown["status"] == "waiting"
    assert 590_000 < shown["wake_at_ms"] - shown["created_ms"] <= 600_000
    body = {"scope": "acme", "definition": definition(), "start_at": "2001-01-01T00:00:00+01:00"}
    assert (await console.done("POST", RUNS, body))["status"] == "queued"


async def test_lists_go_on_and_hold_only_what_is_asked_for(console: Console) -> None:
    """Pages to the end, the newest first; filters; a place that is none is refused."""
    runs = [await submitted(console, name=name) for name in ("a", "b", "a")][::-1]
    await console.done("POST", f"{RUNS}/{runs[0]}/cancel")
    found, place = [], ""
    while True:
        page = await console.done("GET", f"{RUNS}?limit=2&after={place}")
        found += [each["id"] for each in page["runs"]]
        if not page["next"]:
            break
        place = page["next"]
    assert sorted(found) == sorted(runs)
    page = await console.done("GET", f"{RUNS}?workflow=a&status=queued&scope=acme/lab")
    assert [each["id"] for each in page["runs"]] == [runs[2]]
    for query in ("after=x", "status=over", "limit=0", "inside=x%00", "colour=red"):
        answer = await console.call("GET", f"{RUNS}?{query}")
        assert answer.status_code in (400, 404), query


async def test_runs_of_others_are_not_there(console: Console) -> None:
    """For no call, whatever the role."""
    theirs = await submitted(console, scope="globex/lab")
    mine = await submitted(console)
    token = await console.token("admin", "acme")
    listed = await console.done("GET", RUNS, token=token)
    assert [each["id"] for each in listed["runs"]] == [mine]
    path = f"{RUNS}/{theirs}"
    for below in ("", "/output", "/steps/a", "/steps/a/output", "/steps/a/0/output"):
        await console.refused(404, "not_found", "GET", path + below, token=token)
    compared = f"{RUNS}/compare?left={mine}&right={theirs}"
    await console.refused(404, "not_found", "GET", compared, token=token)
    for act in ("cancel", "pause", "resume", "retry"):
        await console.refused(404, "not_found", "POST", f"{path}/{act}", token=token)
    for act, body in (("fork", {"step": "a"}), ("approve", {"step": "a"})):
        await console.refused(404, "not_found", "POST", f"{path}/{act}", body, token=token)
    foreign = f"{RUNS}?organisation=globex"
    await console.refused(403, "organisation_not_allowed", "GET", foreign, token=token)


async def test_ids_that_are_none(console: Console) -> None:
    """Nothing is found, and nothing fails."""
    run = await submitted(console)
    for name in ("x", "r0", "%27%20or%201%3D1", "%00", "r" + "0" * 300, "%F0%9F%98%80"):
        for path in (name, f"{name}/output", f"{name}/history", f"{run}/steps/{name}"):
            answer = await console.call("GET", f"{RUNS}/{path}")
            assert answer.status_code in (400, 404), answer.text
        for act in ("cancel", "retry"):
            assert (await console.call("POST", f"{RUNS}/{name}/{act}")).status_code in (400, 404)


async def test_outputs_are_whole_where_they_are_asked_for(console: Console) -> None:
    """However deep they are nested; in the run only what is short."""
    run = await submitted(console, {"id": "a", "sleep": "1s"}, {"id": "b", "sleep": "1s"})
    deep: Any = 1
    for _ in range(500):
        deep = [deep]
    with book_of(console) as book:
        book.claim()
        book.put(run, "a", "done", output=deep)
        book.put(run, "b", "done", output="x" * 100_000)
        book.end(run, "done", output={"n": 1})
    shown = await console.done("GET", f"{RUNS}/{run}")
    assert [each["has_output"] for each in shown["steps"]] == [True, True]
    assert (shown["steps"][0]["output"], shown["steps"][1]["output"]) == (deep, None)
    assert shown["output"] == {"n": 1}
    path = f"{RUNS}/{run}"
    assert await console.done("GET", f"{path}/steps/b/output") == "x" * 100_000
    assert await console.done("GET", f"{path}/output") == {"n": 1}
    step = await console.done("GET", f"{path}/steps/a")
    assert [(each["attempt"], each["status"]) for each in step["tried"]] == [(1, "done")]
    assert step["page"] == []
    await console.refused(409, "conflict", "GET", f"{path}/steps/a/3/output")


async def test_a_database_that_is_away(console: Console) -> None:
    """503, and no more than that: whoever asks next finds it again."""
    connect = console.parts.workflows.connect
    tries = []

    def away() -> Database:
        tries.append(1)
        raise DatabaseAway("it is being moved")

    object.__setattr__(console.parts.workflows, "connect", away)
    for _ in range(2):
        await console.refused(503, "runs_unavailable", "GET", RUNS)
    assert len(tries) == 2
    object.__setattr__(console.parts.workflows, "connect", connect)
    assert (await console.done("GET", RUNS))["runs"] == []
    await console.done("GET", "/v1/keys")
