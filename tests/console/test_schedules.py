"""A schedule is checked as a run is before it is there, belongs to its organisation, and is paused,
put anew and removed by whoever may submit runs there."""

from typing import Any

from console.workflows import Workflows
from orchestrator.running.scheduling import SubmitDue
from tests.console.desk import Console
from tests.console.running import book_of, definition

SCHEDULES = "/v1/schedules"
DAY_MS = 86_400_000


def body(name: str = "nightly", **more: Any) -> dict[str, Any]:
    """Of a workflow that asks for a topic, every morning."""
    asks = {"topic": {"type": "string", "default": "reefs"}}
    return {
        "name": name, "scope": "acme/lab", "definition": definition(input=asks),
        "cron": "0 6 * * *", "zone": "Europe/Berlin", **more,
    }  # fmt: skip


async def test_a_schedule_is_put_and_submits(console: Console) -> None:
    """It is shown with its input and when it is due, has the run that it submits then, and is
    replaced by one of its name."""
    answer = await console.call("POST", SCHEDULES, body(input={"topic": "whales"}))
    assert answer.status_code == 201, answer.text
    made = answer.json()
    now_ms = console.parts.session.clock.now_ms()
    assert 0 < made.pop("next_ms") - now_ms <= DAY_MS
    assert made.pop("created_ms") > 0
    assert made == {
        "name": "nightly", "organisation": "acme", "scope": "acme/lab", "workflow": "report",
        "cron": "0 6 * * *", "zone": "Europe/Berlin", "input": {"topic": "whales"}, "folder": "",
        "is_paused": False, "last_run": None, "error": "", "by": "first", "is_new": True,
    }  # fmt: skip
    with book_of(console) as book:
        book.now_ms = now_ms + 2 * DAY_MS
        run = book.act(SubmitDue("acme", "nightly"))
    shown = await console.done("GET", f"{SCHEDULES}/nightly")
    assert (shown["last_run"], shown["is_paused"]) == (run, False)
    assert (await console.done("GET", f"/v1/runs/{run}"))["input"] == {"topic": "whales"}
    again = await console.call("POST", SCHEDULES, body(cron="0 7 * * *"))
    assert (again.status_code, again.json()["is_new"]) == (200, False)
    assert (again.json()["cron"], again.json()["input"]) == ("0 7 * * *", {"topic": "reefs"})


async def test_it_pauses_goes_on_and_is_gone(console: Console) -> None:
    """Also put anew it stays paused; then it is 404 for everything."""
    await console.done("POST", SCHEDULES, body())
    paused = await console.done("POST", f"{SCHEDULES}/nightly/pause")
    assert (paused["is_paused"], paused["next_ms"]) == (True, None)
    assert (await console.done("POST", SCHEDULES, body()))["is_paused"]
    resumed = await console.done("POST", f"{SCHEDULES}/nightly/resume")
    assert resumed["next_ms"] > console.parts.session.clock.now_ms()
    assert (await console.done("DELETE", f"{SCHEDULES}/nightly"))["name"] == "nightly"
    for method, path in (
        ("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/resume"),
    ):  # fmt: skip
        for name in ("nightly", "NIGHTLY", "%00", "x" * 64):
            await console.refused(404, "not_found", method, f"{SCHEDULES}/{name}{path}")


async def test_errors_name_the_field(console: Console) -> None:
    """And nothing is there afterwards, the organisation neither."""
    for field, wrong in (
        ("cron", "0 6 * *"), ("cron", "61 * * * *"), ("cron", "0 0 30 2 *"), ("zone", "Mars/X"),
        ("name", "Nightly"), ("name", ""), ("name", "a/b"), ("scope", "a b"), ("input", 3),
    ):  # fmt: skip
        error = await console.refused(
            400, "invalid_request_error", "POST", SCHEDULES, {**body(), field: wrong}
        )
        assert error["param"] == field, error
    steps = definition({"id": "a", "prompt": {"text": "x", "model": "unknown"}})
    for refused, place in (
        (body(definition=steps), "steps[0].prompt.model"), (body(input={"topic": 3}), "input.topic")
    ):  # fmt: skip
        answer = await console.call("POST", SCHEDULES, refused)
        assert [each["place"] for each in answer.json()["error"]["problems"]] == [place]
    assert (await console.done("GET", SCHEDULES))["schedules"] == []
    assert await console.parts.overview.organisations() == []


async def test_who_may(console: Console, workflows: Workflows) -> None:
    """Viewers look, operators decide; a token of an organisation touches no other's, and may not
    have programs run."""
    viewer = await console.token("viewer")
    await console.refused(403, "role_not_allowed", "POST", SCHEDULES, body(), token=viewer)
    await console.done("POST", SCHEDULES, body())
    assert (await console.done("GET", f"{SCHEDULES}/nightly", token=viewer))["name"] == "nightly"
    bound = await console.token("operator", "globex")
    await console.refused(403, "organisation_not_allowed", "POST", SCHEDULES, body(), token=bound)
    await console.refused(404, "not_found", "DELETE", f"{SCHEDULES}/nightly", token=bound)
    assert (await console.done("GET", SCHEDULES, token=bound))["schedules"] == []
    program = definition({"id": "go", "command": ["true"]})
    folder = str(workflows.programs_folder)
    wanted = body(scope="globex", definition=program, folder=folder)
    await console.refused(403, "programs_not_allowed", "POST", SCHEDULES, wanted, token=bound)
    assert (await console.done("POST", SCHEDULES, wanted))["folder"] == folder
    key = await console.done("POST", "/v1/keys", {"name": "k", "scope": "acme/lab"})
    await console.done("DELETE", f"/v1/keys/{key['id']}")
    closed = body(scope=key["budget_scope"])
    await console.refused(409, "conflict", "POST", SCHEDULES, closed)


async def test_they_are_listed_in_pages_and_named_across_organisations(console: Console) -> None:
    """By organisation and name; of two of one name the organisation is to be said."""
    for scope, name in (("acme", "b"), ("acme", "a"), ("globex", "a")):
        await console.done("POST", SCHEDULES, body(name, scope=scope))
    first = await console.done("GET", f"{SCHEDULES}?limit=2")
    rest = await console.done("GET", f"{SCHEDULES}?limit=2&after={first['next']}")
    assert rest["next"] is None
    seen = [*first["schedules"], *rest["schedules"]]
    assert [(each["organisation"], each["name"]) for each in seen] == [
        ("acme", "a"),
        ("acme", "b"),
        ("globex", "a"),
    ]
    only = await console.done("GET", f"{SCHEDULES}?organisation=globex")
    assert [each["organisation"] for each in only["schedules"]] == ["globex"]
    several = f"{SCHEDULES}/a"
    error = await console.refused(400, "invalid_request_error", "DELETE", several)
    assert error["param"] == "organisation"
    await console.done("DELETE", f"{several}?organisation=globex")
    assert (await console.done("GET", several))["organisation"] == "acme"
    for wrong in ("x", "acme/", "acme%00/a"):
        await console.refused(400, "invalid_request_error", "GET", f"{SCHEDULES}?after={wrong}")
