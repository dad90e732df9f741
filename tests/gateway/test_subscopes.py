"""A key with `subscopes` counts each request at the child of its scope that the request names, by
the `per_child` template; nothing above the child is ever loosened by a name."""

import json
from typing import Any

import httpx
import pytest

from tests.gateway.behaviours import answers
from tests.gateway.stack import GREETING, Stack

BODY: dict[str, Any] = {"model": "plain", "messages": GREETING}
NAMED = {"x-comptroller-scope": "run-42/write"}


async def post(
    stack: Stack,
    secret: str,
    headers: dict[str, str] | None = None,
    path: str = "/v1/chat/completions",
    **fields: Any,
) -> httpx.Response:
    """A chat request with these headers and fields."""
    headers = {"authorization": f"Bearer {secret}", **(headers or {})}
    return await stack.client.post(path, json=BODY | fields, headers=headers)


async def scopes(stack: Stack) -> list[str]:
    """Where the requests counted, below the organisation, in their order."""
    found = [json.loads(entry.event)["scope"] for entry in await stack.ledger.requests()]
    return [each.removeprefix(f"{stack.organisation}/") for each in found]


async def test_each_child_has_the_template_s_budget(stack: Stack) -> None:
    """Two requests in a run exhaust it, and the next run goes on; the refusal names the run."""
    stack.provider.behaviour = answers()
    await stack.set_budget("research", {"limits": [], "per_child": [{"requests": 2}]})
    secret = await stack.key(subscopes=("any",))
    for run, status in (("a", 200), ("a", 200), ("a", 402), ("b", 200)):
        answer = await post(stack, secret, {"x-comptroller-scope": run})
        assert answer.status_code == status, answer.text
        if status == 402:
            assert stack.scope("research/a") in answer.json()["error"]["message"]
    assert await scopes(stack) == ["research/a", "research/a", "research/b"]
    await stack.ledger.at_rest()


async def test_what_is_above_holds_for_all_children_together(stack: Stack) -> None:
    """Names make no room: neither at the scope of the key nor at the key itself."""
    await stack.set_budget("research", [{"requests": 3}])
    secret = await stack.key(subscopes=("any",), budget=[{"requests": 2}])
    other = await stack.key(subscopes=("any",))
    statuses = [
        (await post(stack, each, {"x-comptroller-scope": f"run-{n}"})).status_code
        for n, each in enumerate([secret, secret, secret, other, other])
    ]
    assert statuses == [200, 200, 402, 200, 402]
    await stack.ledger.at_rest()


async def test_a_frozen_child_is_frozen(stack: Stack) -> None:
    """An operator stops one run and no other."""
    secret = await stack.key(subscopes=("any",))
    assert (await post(stack, secret, NAMED)).status_code == 200
    await stack.set_state("research/run-42", "freeze")
    refused = await post(stack, secret, NAMED)
    assert (refused.status_code, refused.json()["error"]["reason"]) == (402, "frozen")
    assert (await post(stack, secret, {"x-comptroller-scope": "run-43"})).status_code == 200


async def test_a_revoked_key_names_nothing(stack: Stack) -> None:
    """Its own state counts, wherever its requests do."""
    secret = await stack.key(subscopes=("any",))
    assert (await post(stack, secret, NAMED)).status_code == 200
    await stack.keyring.revoke(stack.keys[secret])
    assert (await post(stack, secret, NAMED)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "fields", "child"),
    [
        (NAMED, {}, "run-42/write"),
        (NAMED | {"helicone-session-id": "s"}, {"user": "u"}, "run-42/write"),
        ({"helicone-session-id": "s-1", "helicone-user-id": "u"}, {}, "s-1"),
        ({"x-litellm-session-id": "s-2"}, {"user": "u"}, "s-2"),
        ({"x-claude-code-session-id": "s-3"}, {}, "s-3"),
        ({"helicone-user-id": "ada@example.org"}, {"user": "u"}, "ada@example.org"),
        ({"x-litellm-end-user-id": "u-1"}, {}, "u-1"),
        ({}, {"user": "u-2"}, "u-2"),
        ({}, {"user": "old", "safety_identifier": "u-3"}, "u-3"),
        ({}, {"metadata": {"user_id": "u-4"}}, "u-4"),
        ({"x-litellm-tags": "team-a, nightly"}, {}, "team-a"),
        ({"helicone-property-tenant": "t"}, {}, ""),
        ({"x-litellm-tags": ""}, {}, ""),
        ({}, {}, ""),
    ],
)
async def test_the_first_name_of_a_request_counts(
    stack: Stack, headers: dict[str, str], fields: dict[str, Any], child: str
) -> None:
    """The scope that it says, else its session, its user, its first tag; none: the key's own."""
    secret = await stack.key(subscopes=("any",))
    assert (await post(stack, secret, headers, **fields)).status_code == 200
    assert await scopes(stack) == [f"research/{child or stack.keys[secret].id}"]


async def test_a_list_of_sources_is_a_path(stack: Stack) -> None:
    """Those that the request has, the outermost first; what it has besides does not count."""
    secret = await stack.key(subscopes=("property:tenant", "user"))
    tenant, session = {"helicone-property-tenant": "t"}, {"helicone-session-id": "s"}
    await post(stack, secret, tenant | session, user="u")
    await post(stack, secret, session, user="u")
    await post(stack, secret, session)
    own = stack.keys[secret].id
    assert await scopes(stack) == ["research/t/u", "research/u", f"research/{own}"]


@pytest.mark.parametrize(
    "named",
    ["", "/", "a/", "../b", "a b", "key-1", "a/key-1", "KEY-1", "~route/x", "/".join("a" * 15)],
)
async def test_a_scope_that_cannot_be_is_refused(stack: Stack, named: str) -> None:
    """Nothing is sent, and no key's own scope is named."""
    secret = await stack.key(subscopes=("any",))
    answer = await post(stack, secret, {"x-comptroller-scope": named})
    assert answer.status_code == 400, answer.text
    assert stack.provider.received == []


@pytest.mark.parametrize("value", [5, None, ["u"], {"id": 1}])
async def test_a_user_of_another_type_names_nothing(stack: Stack, value: object) -> None:
    """It is for the provider to refuse."""
    secret = await stack.key(subscopes=("any",))
    assert (await post(stack, secret, user=value)).status_code == 200
    assert await scopes(stack) == [f"research/{stack.keys[secret].id}"]


@pytest.mark.parametrize("nobody", [None, "", " ", 5, ["u"]])
async def test_a_field_that_names_nobody_hides_no_other(stack: Stack, nobody: object) -> None:
    """An end user's budget is not left by a null, or by nonsense, in a field that is asked
    first."""
    secret = await stack.key(subscopes=("any",))
    fields: tuple[dict[str, Any], ...] = (
        {"safety_identifier": nobody, "user": "u-1"},
        {"safety_identifier": nobody, "user": nobody, "metadata": {"user_id": "u-2"}},
    )
    for each in fields:
        assert (await post(stack, secret, **each)).status_code == 200
    assert await scopes(stack) == ["research/u-1", "research/u-2"]


async def test_names_are_bounded(stack: Stack) -> None:
    """One as long as a book is refused, in a header or in the body."""
    secret = await stack.key(subscopes=("any",))
    assert (await post(stack, secret, user="u" * 2000)).status_code == 400
    long = await post(stack, secret, {"helicone-session-id": "s" * 2000})
    assert long.status_code == 400


async def test_another_key_may_name_none(stack: Stack) -> None:
    """Who says a scope is told so, and not counted elsewhere; what clients send anyway is nothing
    to it."""
    secret = await stack.key()
    refused = await post(stack, secret, NAMED)
    assert refused.status_code == 403
    assert "--subscopes" in refused.json()["error"]["message"]
    headers = {"helicone-session-id": "s", "helicone-user-id": "u"}
    assert (await post(stack, secret, headers, user="u")).status_code == 200
    assert await scopes(stack) == [f"research/{stack.keys[secret].id}"]


async def test_a_quote_and_a_budget_are_of_the_child(stack: Stack) -> None:
    """What a request would meet."""
    await stack.set_budget("research", {"limits": [], "per_child": [{"requests": 1}]})
    secret = await stack.key(subscopes=("any",))
    child = {"x-comptroller-scope": "run-1"}
    assert (await post(stack, secret, child)).status_code == 200
    assert (await post(stack, secret, child, path="/v1/quote")).json()["fits"] is False
    other = {"x-comptroller-scope": "run-2"}
    assert (await post(stack, secret, other, path="/v1/quote")).json()["fits"] is True
    headers = {"authorization": f"Bearer {secret}", **child}
    shown = (await stack.client.get("/v1/budget", headers=headers)).json()["scopes"]
    (limit,) = next(each["limits"] for each in shown if each["scope"].endswith("/run-1"))
    assert (limit["dimension"], int(limit["free"])) == ("requests", 0)


async def test_one_name_of_a_call_is_one_scope(stack: Stack) -> None:
    """An Idempotency-Key that comes again for another child is a conflict, not an answer."""
    secret = await stack.key(subscopes=("any",))
    headers = {"idempotency-key": "once"}
    first = await post(stack, secret, headers | {"x-comptroller-scope": "a"})
    again = await post(stack, secret, headers | {"x-comptroller-scope": "a"})
    other = await post(stack, secret, headers | {"x-comptroller-scope": "b"})
    assert (first.status_code, again.status_code, other.status_code) == (200, 200, 422)
    assert len(await scopes(stack)) == 1


async def test_only_who_may_name_scopes_passes_that_on(stack: Stack) -> None:
    """A key that delegates and names none mints none that does; the children of one that it mints
    are below its own scope."""
    for own, status in (((), 403), (("any",), 201)):
        secret = await stack.key(delegates=True, subscopes=own)
        wanted = {"name": "helper", "subscopes": ["user"]}
        minted = await stack.call(secret, wanted, "/v1/keys")
        assert minted.status_code == status, minted.text
    document = minted.json()
    assert document["subscopes"] == ["user"]
    assert (await post(stack, document["key"], user="u")).status_code == 200
    assert await scopes(stack) == [f"research/{stack.keys[secret].id}/u"]
