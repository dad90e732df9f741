"""A token of one organisation sees and touches nothing of another's, whatever its role."""

import pytest

from tests.console.desk import Console

FOREIGN = "organisation_not_allowed"


async def test_keys_of_others_are_not_there(console: Console) -> None:
    """Neither listed nor shown, rotated or revoked, and none is minted there."""
    mine = await console.done("POST", "/v1/keys", {"name": "a", "scope": "acme"})
    theirs = await console.done("POST", "/v1/keys", {"name": "g", "scope": "globex"})
    token = await console.token("admin", "acme")
    listed = await console.done("GET", "/v1/keys", token=token)
    assert [each["id"] for each in listed["keys"]] == [mine["id"]]
    path = f"/v1/keys/{theirs['id']}"
    for method, where in (("GET", path), ("DELETE", path), ("POST", f"{path}/rotate")):
        await console.refused(404, "not_found", method, where, token=token)
        asked = f"{where}?organisation=globex"
        await console.refused(403, FOREIGN, method, asked, token=token)
    body = {"name": "x", "scope": "globex/new"}
    await console.refused(403, FOREIGN, "POST", "/v1/keys", body, token=token)
    await console.refused(403, FOREIGN, "GET", "/v1/keys?scope=globex", token=token)
    page = await console.done("GET", "/v1/keys?after=globex/", token=token)
    assert page == {"keys": [], "next": None}
    assert (await console.done("GET", path))["status"] == "active"


async def test_budgets_of_others_are_not_there(console: Console) -> None:
    """A prefix of a name is another name."""
    for scope in ("acme", "acme-2", "globex"):
        await console.done("PUT", "/v1/budgets", {"scope": scope, "limits": [{"requests": 1}]})
    token = await console.token("admin", "acme")
    listed = await console.done("GET", "/v1/budgets", token=token)
    assert [each["scope"] for each in listed["budgets"]] == ["acme"]
    for scope in ("globex", "acme-2", "globex/below"):
        body = {"scope": scope}
        await console.refused(403, FOREIGN, "GET", f"/v1/budgets?scope={scope}", token=token)
        await console.refused(403, FOREIGN, "DELETE", f"/v1/budgets?scope={scope}", token=token)
        await console.refused(403, FOREIGN, "POST", "/v1/budgets/freeze", body, token=token)
        await console.refused(403, FOREIGN, "POST", "/v1/budgets/thaw", body, token=token)
        put = ("PUT", "/v1/budgets", {**body, "limits": []})
        await console.refused(403, FOREIGN, *put, token=token)
    await console.refused(403, FOREIGN, "GET", "/v1/budgets?organisation=globex", token=token)


async def test_tokens_of_others_are_not_there(console: Console) -> None:
    """A bound admin makes tokens of its organisation only, and cannot reach wider ones."""
    token = await console.token("admin", "acme")
    made = await console.done("POST", "/v1/tokens", {"name": "a", "role": "admin"}, token=token)
    assert made["organisation"] == "acme"
    body = {"name": "b", "role": "viewer", "organisation": "globex"}
    await console.refused(403, FOREIGN, "POST", "/v1/tokens", body, token=token)
    await console.done("POST", "/v1/tokens", {**body, "name": "g"})
    names = {
        each["name"] for each in (await console.done("GET", "/v1/tokens", token=token))["tokens"]
    }
    assert "a" in names
    assert not names & {"first", "g"}
    for name in ("first", "g"):
        await console.refused(404, "not_found", "DELETE", f"/v1/tokens/{name}", token=token)


async def test_records_of_others_are_not_there(recorded: Console) -> None:
    """Events, SQL and metrics: asked as the organisation's own user, so that not even a query that
    names another's rows finds them."""
    mine, theirs = await recorded.caller(), await recorded.caller()
    for each in (mine, theirs):
        await each.make(3)
        await each.recorded()
    token = await recorded.token("viewer", mine.organisation)
    page = await recorded.done("GET", "/v1/events?limit=1000", token=token)
    assert {each["org"] for each in page["events"]} == {mine.organisation}
    page = await recorded.done(
        "GET", f"/v1/events?after={theirs.organisation}/0-0-0&order=desc", token=token
    )
    assert {each["org"] for each in page["events"]} <= {mine.organisation}
    for query in (f"scope={theirs.organisation}/x", f"organisation={theirs.organisation}"):
        for path in ("/v1/events", "/v1/events/stream"):
            await recorded.refused(403, FOREIGN, "GET", f"{path}?{query}", token=token)
    for query in (
        "SELECT DISTINCT org FROM events",
        f"SELECT DISTINCT org FROM events WHERE org IN ('{theirs.organisation}', org)",
        "SELECT DISTINCT org FROM usage",
    ):
        answer = await recorded.done("POST", "/v1/sql", {"query": query}, token=token)
        assert answer["rows"] == [[mine.organisation]]
    metrics = await recorded.call("GET", "/metrics", token=token)
    assert mine.organisation in metrics.text
    assert theirs.organisation not in metrics.text


@pytest.mark.parametrize("organisation", ["nobody-yet", "acme"])
async def test_an_organisation_that_is_not_there_yet(console: Console, organisation: str) -> None:
    """Its token may begin it, and only it."""
    token = await console.token("operator", organisation)
    await console.refused(404, "not_found", "GET", "/v1/keys", token=token)
    body = {"name": "k", "scope": organisation}
    key = await console.done("POST", "/v1/keys", body, token=token)
    listed = await console.done("GET", "/v1/keys", token=token)
    assert [each["id"] for each in listed["keys"]] == [key["id"]]
