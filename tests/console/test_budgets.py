"""Budgets over the admin API: what is shown is what the ledger has, as the data port shows it."""

from typing import Any

import pytest

from budgets.learned import Learned, route_scope
from budgets.pipelined import TOUCHED
from budgets.plan import ScopePath
from budgets.policy import Policy
from gateway.standing import limit_shown
from tests.budgets.harness import dollars, granted, refused
from tests.console.desk import Console

MONEY = ("limit", "spent", "reserved", "allotted", "free")
USD = {"dimension", "window", "resets_at", *MONEY, *(f"{name}_nusd" for name in MONEY)}


async def test_a_budget_is_set_and_shown(console: Console) -> None:
    """The contract's shape, from both calls; the organisation was new."""
    limits = [{"usd": "5.00", "window": "month"}, {"requests": 600, "window": "minute"}]
    body = {"scope": "acme/research", "limits": [*limits, {"concurrency": 20}]}
    answer = await console.done("PUT", "/v1/budgets", body)
    assert set(answer) == {"scope", "state", "limits"}
    assert (answer["scope"], answer["state"]) == ("acme/research", "open")
    usd, requests, concurrency = answer["limits"]
    assert set(usd) == USD
    assert (usd["limit"], usd["limit_nusd"], usd["free"]) == ("5.00", 5 * 10**9, "5.00")
    assert usd["resets_at"] > console.parts.session.clock.now_ms()
    assert set(requests) == {"dimension", "window", "resets_at", *MONEY}
    assert (requests["limit"], requests["free"]) == (600, 600)
    assert (concurrency["limit"], concurrency["resets_at"]) == (20, None)
    shown = await console.done("GET", "/v1/budgets?scope=acme/research")
    assert set(shown) == {"scope", "state", "limits"}


async def test_what_is_shown_is_what_the_data_port_shows(console: Console) -> None:
    """After a reservation, for a limit of its own and one of a template: the same dictionaries as
    GET /v1/budget makes of a checked path."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme", "limits": [{"usd": "9"}]})
    per_child = {"scope": "acme/users", "limits": [], "per_child": [{"requests": 7}]}
    await console.done("PUT", "/v1/budgets", per_child)
    path = ScopePath("acme/users/ann")
    granted(await console.desk.ask(dollars(1_234), path=path))
    checked = await console.desk.ledger.check(path)
    for scope, count in (("acme", 1), ("acme/users", 0), ("acme/users/ann", 1)):
        shown = await console.done("GET", f"/v1/budgets?scope={scope}")
        expected = [limit_shown(each) for each in checked.standings if each.bound.scope == scope]
        assert shown["limits"] == expected
        assert len(expected) == count
    usd = (await console.done("GET", "/v1/budgets?scope=acme"))["limits"][0]
    assert (usd["reserved_nusd"], usd["reserved"]) == (1_234, "0.000001234")


async def test_a_budget_that_is_put_again_is_replaced(console: Console) -> None:
    """Limits that stay keep what was spent; what is not said is the default again; what is said
    beside limits is shown as it is written."""
    said = {
        "on_exceed": "refuse",
        "per_child": [{"usd": "0.50", "window": "day"}],
        "share_of_free": "0.50",
        "output_tokens_default": 100,
        "payloads": "off",
        "kind": "project",
    }
    body: dict[str, Any] = {"scope": "acme", "limits": [{"usd": "1"}, {"requests": 3}]}
    answer = await console.done("PUT", "/v1/budgets", {**body, **said})
    assert {name: answer[name] for name in said} == said
    granted(await console.desk.ask(dollars(1_000), scope="acme"))
    body["limits"] = [{"usd": "2"}]
    answer = await console.done("PUT", "/v1/budgets", body)
    assert set(answer) == {"scope", "state", "limits", "kind"}
    (usd,) = answer["limits"]
    assert (usd["limit_nusd"], usd["reserved_nusd"]) == (2 * 10**9, 1_000)


async def test_a_deleted_budget_limits_nothing(console: Console) -> None:
    """The scope stays; the event says who."""
    body = {"scope": "acme", "limits": [{"requests": 0}]}
    await console.done("PUT", "/v1/budgets", body)
    refused(await console.desk.ask(dollars(1), scope="acme"), "TOO_LARGE")
    answer = await console.done("DELETE", "/v1/budgets?scope=acme")
    assert (answer["state"], answer["limits"]) == ("open", [])
    granted(await console.desk.ask(dollars(1), scope="acme"))
    events = [event for kind, event in await console.events("acme") if kind == "budget_changed"]
    assert len(events) == 2
    assert all(b'"by":"first"' in event for event in events)
    await console.refused(404, "not_found", "DELETE", "/v1/budgets?scope=acme/none")
    await console.refused(400, "invalid_request_error", "DELETE", "/v1/budgets")


async def test_freeze_and_thaw_count_at_the_next_call(console: Console) -> None:
    """The state is shown, and so is who did it; a scope that was never used can be frozen, not
    thawed."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme", "limits": []})
    answer = await console.done("POST", "/v1/budgets/freeze", {"scope": "acme"})
    assert answer == {"scope": "acme", "state": "frozen", "limits": []}
    refused(await console.desk.ask(dollars(1), scope="acme/x"), "FROZEN")
    answer = await console.done("POST", "/v1/budgets/thaw", {"scope": "acme"})
    assert answer["state"] == "open"
    granted(await console.desk.ask(dollars(1), scope="acme/x"))
    actions = [event for _, event in await console.events("acme") if b"action" in event]
    assert [b"freeze" in actions[0], b"thaw" in actions[1]] == [True, True]
    assert all(b'"by":"first"' in event for event in actions)
    answer = await console.done("POST", "/v1/budgets/freeze", {"scope": "acme/later"})
    assert answer["state"] == "frozen"
    await console.refused(404, "not_found", "POST", "/v1/budgets/thaw", {"scope": "acme/never"})
    await console.refused(404, "not_found", "POST", "/v1/budgets/freeze", {"scope": "nobody"})


async def test_a_closed_scope_cannot_change(console: Console) -> None:
    """It is closed for good: 409, and it says so."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme/run", "limits": []})
    await console.desk.administration.set_state("acme/run", "close", "workflow_halted", b"{}")
    body = {"scope": "acme/run", "limits": []}
    for call in (
        ("PUT", "/v1/budgets", {**body, "limits": [{"requests": 1}]}),
        ("POST", "/v1/budgets/freeze", {"scope": "acme/run"}),
        ("POST", "/v1/budgets/thaw", {"scope": "acme/run"}),
    ):
        error = await console.refused(409, "conflict", *call)
        assert "closed" in error["message"]
    shown = await console.done("GET", "/v1/budgets?scope=acme/run")
    assert shown["state"] == "closed"


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"limits": None}, "limits", ""),
        ({"limits": [{"usd": "1"}, {"usd": "x"}]}, "limits.1", "usd is dollars"),
        ({"limits": [{"usd": "1", "windw": "day"}]}, "limits.0.windw", "did you mean 'window'?"),
        ({"limits": [{"usd": "1", "window": "year"}]}, "limits.0", "window is one of"),
        ({"limits": [{"usd": "1"}, {"usd": "2"}]}, "limits", "twice"),
        ({"limits": ["usd"]}, "limits.0", "a mapping"),
        ({"per_child": [{}]}, "per_child.0", "names one of"),
        ({"per_child": None}, "per_child", "a list"),
        ({"on_exceed": "wait"}, "on_exceed", "clamp or refuse"),
        ({"share_of_free": 2}, "share_of_free", "from 0.01 to 1"),
        ({"output_tokens_default": 0}, "output_tokens_default", "whole number"),
        ({"payloads": "none"}, "payloads", "one of full"),
        ({"count_from": "2027-01-01"}, "count_from", "not supported"),
        ({"limit": []}, "limit", "did you mean 'limits'?"),
        ({"scope": "acme/"}, "scope", "segment"),
    ],
)
async def test_a_budget_that_cannot_be(
    console: Console, fields: dict[str, Any], param: str, says: str
) -> None:
    """Each bad field is named, and nothing is changed."""
    body = {"scope": "acme", "limits": [], **fields}
    error = await console.refused(400, "invalid_request_error", "PUT", "/v1/budgets", body)
    assert error["param"] == param
    assert says in error["message"]
    assert await console.parts.overview.organisations() == []


async def test_budgets_are_listed_in_pages(console: Console) -> None:
    """Every scope that has one, once, in order, over organisations; not keys without one."""
    scopes = ["acme", "acme/a", "acme/a/b", "globex", "initech/x/y"]
    for scope in scopes:
        await console.done("PUT", "/v1/budgets", {"scope": scope, "limits": [{"requests": 1}]})
    await console.done("POST", "/v1/keys", {"name": "k", "scope": "acme"})
    for size in (1, 2, 5, 100):
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await console.done("GET", f"/v1/budgets?limit={size}&after={after}")
            assert set(page) == {"budgets", "next"}
            found += [each["scope"] for each in page["budgets"]]
            after = page["next"]
        assert found == scopes
    of = await console.done("GET", "/v1/budgets?organisation=globex")
    assert [each["scope"] for each in of["budgets"]] == ["globex"]
    assert of["budgets"][0] == await console.done("GET", "/v1/budgets?scope=globex")


async def test_reading_changes_nothing(console: Console) -> None:
    """A viewer's look leaves no event, no counter, no scope, and a scope that is not there is not
    made by being asked for."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme/a/b", "limits": [{"requests": 1}]})
    viewer = await console.token("viewer")
    keys = await _lasting(console)
    before = [await console.desk.transport.command("DUMP", key) for key in keys]
    for path in ("?scope=acme/a/b", "?scope=acme/a", "?scope=acme/none", "?scope=none", ""):
        await console.call("GET", f"/v1/budgets{path}", token=viewer)
    await console.refused(404, "not_found", "GET", "/v1/budgets?scope=acme/none")
    await console.refused(404, "not_found", "GET", "/v1/budgets?scope=none")
    after = [await console.desk.transport.command("DUMP", key) for key in keys]
    assert after == before
    assert await _lasting(console) == keys


async def _lasting(console: Console) -> list[bytes]:
    """The names of all that the ledger's server has, but for the mark of a fresh write, which it
    drops by itself within a second."""
    keys = await console.desk.transport.command("KEYS", "*")
    assert isinstance(keys, list)
    return sorted(key for key in keys if key != TOUCHED)


async def test_what_was_learned_of_a_route_is_no_budget(console: Console) -> None:
    """Set, removed, frozen, thawed or shown it is refused, with what to do instead; a list of
    budgets does not have it."""
    await console.done("PUT", "/v1/budgets", {"scope": "acme", "limits": [{"usd": "1"}]})
    scope = route_scope("acme", "p:m~1")
    policy = Policy(learned=Learned(2000))
    await console.desk.administration.set_policy(scope, policy, b"{}")
    tries = [
        await console.call("PUT", "/v1/budgets", {"scope": scope, "limits": []}),
        await console.call("DELETE", f"/v1/budgets?scope={scope}"),
        await console.call("GET", f"/v1/budgets?scope={scope}"),
        *[
            await console.call("POST", f"/v1/budgets/{action}", {"scope": scope})
            for action in ("freeze", "thaw")
        ],
    ]
    for answer in tries:
        assert answer.status_code == 400, answer.text
        assert "learned of a route" in answer.text
        assert "model_info" in answer.text
    listed = await console.done("GET", "/v1/budgets")
    assert [each["scope"] for each in listed["budgets"]] == ["acme"]
    stored = await console.desk.session.load([scope], create=False)
    assert stored[scope].policy == policy
    assert stored[scope].state == 0
