"""What a key may not mint: anything wider than itself, and whatever a hostile client writes."""

import contextlib
import json
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgets.keys import new_secret
from gateway.errors import InvalidRequest
from gateway.options import GatewayOptions
from gateway.wanted import BODY_BYTES_MAX, KeyWanted, parse_wanted
from tests.gateway.conftest import MakeStack
from tests.gateway.delegating import KEYS, delete, error_of, listed, mint
from tests.gateway.stack import Stack

HOUR_MS = 3_600_000
# Beyond the key with models plain and demo/s*, endpoints /v1/chat/* and /v1/keys*, an hour to live.
WIDER: list[tuple[dict[str, Any], str]] = [
    ({"models": ["*"]}, "models"),
    ({"models": ["plain", "dear"]}, "models"),
    ({"models": ["demo/*"]}, "models"),
    ({"models": ["demo/s?", "demo/[sl]*"]}, "models"),
    ({"endpoints": ["/v1/*"]}, "endpoints"),
    ({"endpoints": ["/v1/models"]}, "endpoints"),
    ({"expires_in": "2h"}, "expires_in"),
    ({"expires_in": "36500d"}, "expires_in"),
    ({"allotment": {"usd": "0.1", "expires_in": "61m"}}, "expires_in"),
    ({"scope": "{org}"}, "scope"),
    ({"scope": "{org}/research"}, "scope"),
    ({"scope": "{own}x"}, "scope"),
    ({"scope": "other/research/key-1"}, "scope"),
    ({"tags": {"team": "b"}}, "tags"),
]
MALFORMED: list[tuple[dict[str, Any], str]] = [
    ({"scope": "{own}/../key-2"}, "scope"),
    ({"scope": "{own}/.."}, "scope"),
    ({"scope": "{own}/"}, "scope"),
    ({"scope": "{own}//a"}, "scope"),
    ({"scope": "{own}/./a"}, "scope"),
    ({"scope": "{own}/%2e%2e"}, "scope"),
    ({"scope": "{own}\\a"}, "scope"),
    ({"scope": "{own}/\u0430"}, "scope"),
    ({"scope": "{own}/a\n"}, "scope"),
    ({"scope": "{own}/" + "a" * 65}, "scope"),
    ({"scope": "{own}/" + "/".join("a" * 13)}, "scope"),
    ({"scope": ""}, "scope"),
    ({"scope": 5}, "scope"),
    ({"name": ""}, "name"),
    ({"name": None}, "name"),
    ({"name": "a" * 49}, "name"),
    ({"name": "a/b"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({"models": []}, "models"),
    ({"models": "plain"}, "models"),
    ({"models": [""]}, "models"),
    ({"models": [None]}, "models"),
    ({"models": ["plain"] * 33}, "models"),
    ({"models": ["p" * 129]}, "models"),
    ({"models": ["plain\n"]}, "models"),
    ({"endpoints": []}, "endpoints"),
    ({"endpoints": {"a": 1}}, "endpoints"),
    ({"expires_in": "0s"}, "expires_in"),
    ({"expires_in": 60}, "expires_in"),
    ({"expires_in": "-1h"}, "expires_in"),
    ({"expires_in": "1 h"}, "expires_in"),
    ({"budget": {"limits": [], "payloads": "off"}}, "budget"),
    ({"budget": [{"usd": "-1"}]}, "budget"),
    ({"budget": [{"usd": "1", "windw": "day"}]}, "budget"),
    ({"budget": [{"usd": "1"}, {"usd": "2"}]}, "budget"),
    ({"budget": [{"usd": "1e99"}]}, "budget"),
    ({"budget": [{"usd": "1", "models": [""]}]}, "budget"),
    ({"budget": [{"requests": 1}] * 17}, "budget"),
    ({"budget": "1.00"}, "budget"),
    ({"allotment": {"expires_in": "1h"}}, "allotment"),
    ({"allotment": {"usd": "0"}}, "allotment"),
    ({"allotment": {"usd": "-1"}}, "allotment.usd"),
    ({"allotment": {"tokens": 1.5}}, "allotment.tokens"),
    ({"allotment": {"tokens": True}}, "allotment.tokens"),
    ({"allotment": {"usd": "9e6"}}, "allotment.usd"),
    ({"allotment": {"requests": 5}}, "allotment"),
    ({"allotment": {"usd": "1", "to": "x"}}, "allotment"),
    ({"allotment": {"usd": "1", "expires_in": "0s"}}, "allotment.expires_in"),
    ({"allotment": ["usd"]}, "allotment"),
    ({"agent": ""}, "agent"),
    ({"agent": "a\x1b[2J"}, "agent"),
    ({"agent": "a" * 257}, "agent"),
    ({"tags": ["a"]}, "tags"),
    ({"tags": {"a": 1}}, "tags"),
    ({"tags": {"": "a"}}, "tags"),
    ({"tags": {str(n): "a" for n in range(33)}}, "tags"),
    ({"tags": {str(n): "a" for n in range(32)}}, "tags"),
    ({"delegates": "yes"}, "delegates"),
    ({"delegates": 1}, "delegates"),
    ({"attempts": []}, "attempts"),
    ({"minters": ["x"]}, "minters"),
    ({"secret": "ck-of-my-own-choice"}, "secret"),
    ({"id": "key-1"}, "id"),
    ({"subscopes": "user"}, "subscopes"),
    ({"payloads": "off"}, "payloads"),
    ({"mod\ud800els": ["*"]}, "mod\\ud800els"),
]
BODIES = [
    *(b"", b"null", b"[]", b'"a"', b"{", b'{"name": "a"} x', b"\xff\xfe", b'{"name": "\xff"}'),
    *(b"{" * 16_000, b"[" * 16_000, b'{"name": "a", "budget": ' + b"[" * 15_000),
    *(b'{"name": "a", "name": "b"}', b'{"name": "a", "budget": [{"usd": "1", "usd": "9"}]}'),
    *(b'{"name": "a", "budget": [{"usd": NaN}]}', b'{"name": "a", "budget": [{"tokens": 1e999}]}'),
    b'{"name": "a", "budget": [{"tokens": ' + b"9" * 5_000 + b"}]}",
    '{"name": "a"}'.encode("utf-16"),
]


async def limited(stack: Stack) -> str:
    """The secret of a key that delegates and is narrow itself."""
    return await stack.key(
        models=("plain", "demo/s*"),
        endpoints=("/v1/chat/*", "/v1/keys*"),
        expires_at_ms=int(time.time() * 1000) + HOUR_MS,
        delegates=True,
        tags={"team": "a"},
    )


def spelled(stack: Stack, fields: dict[str, Any], secret: str) -> bytes:
    """As JSON, with this test's scopes."""
    text = json.dumps({"name": "helper", **fields})
    own = stack.keys[secret].key_scope
    return text.replace("{own}", own).replace("{org}", stack.organisation).encode()


async def posted(stack: Stack, secret: str, body: bytes, **headers: str) -> Any:
    """POST /v1/keys with a body as it is."""
    headers = {"authorization": f"Bearer {secret}", **headers}
    return await stack.client.post(KEYS, content=body, headers=headers)


@pytest.mark.parametrize(("fields", "param"), WIDER, ids=str)
async def test_nothing_wider_is_minted(stack: Stack, fields: dict[str, Any], param: str) -> None:
    """403 that names the field; nothing is written, and nothing is in the list."""
    secret = await limited(stack)
    before = await stack.ledger.state()
    answer = await posted(stack, secret, spelled(stack, fields, secret))
    error = error_of(answer, 403, "delegation_refused")
    assert error["param"] == param
    assert await stack.ledger.state() == before
    assert await listed(stack, secret) == []


@pytest.mark.parametrize(("fields", "param"), MALFORMED, ids=lambda each: ascii(each)[:60])
async def test_what_no_key_can_be(stack: Stack, fields: dict[str, Any], param: str) -> None:
    """400 that names the field; nothing is written."""
    secret = await limited(stack)
    before = await stack.ledger.state()
    answer = await posted(stack, secret, spelled(stack, fields, secret))
    error = error_of(answer, 400, "invalid_request_error")
    assert error["param"] == param
    assert len(error["message"]) < 600
    assert await stack.ledger.state() == before


@pytest.mark.parametrize("body", BODIES, ids=lambda each: ascii(each[:40]))
async def test_bodies_that_are_none(stack: Stack, body: bytes) -> None:
    """Cut off, nested without end, read differently by two parsers: 400, and nothing is written."""
    secret = await limited(stack)
    before = await stack.ledger.state()
    error_of(await posted(stack, secret, body), 400, "invalid_request_error")
    assert await stack.ledger.state() == before


async def test_a_body_has_a_largest_size(stack: Stack) -> None:
    """413 above it, also where it is packed small."""
    secret = await limited(stack)
    padding = " " * (BODY_BYTES_MAX - len('{"name": "a"}'))
    fits = ('{"name": "a"' + padding + "}").encode()
    assert (await posted(stack, secret, fits)).status_code == 201
    error = error_of(await posted(stack, secret, fits + b" "), 413, "invalid_request_error")
    assert str(BODY_BYTES_MAX) in error["message"]


_JSON = st.recursive(
    st.one_of(
        *(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
        st.sampled_from(["a", "1.00", "30d", "usd", "*", "acme/x"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["usd", "tokens", "window", "models", "a", "limits"]), inner, max_size=3
        ),
    ),
    max_leaves=6,
)


@given(
    document=st.dictionaries(
        st.sampled_from(
            [
                *("name", "scope", "models", "endpoints", "expires_in", "budget", "allotment"),
                *("agent", "tags", "delegates", "nmae"),
            ]
        ),
        _JSON,
        max_size=4,
    )
)
def test_any_document_is_read_or_refused(document: dict[str, Any]) -> None:
    """Whatever the fields hold, it is a key that could be, or an error of the caller's."""
    body = json.dumps({"name": "a", **document}).encode()
    with contextlib.suppress(InvalidRequest):
        wanted = parse_wanted(body)
        assert isinstance(wanted, KeyWanted)
        assert wanted.name


async def test_a_key_without_the_permission_can_do_none_of_it(stack: Stack) -> None:
    """Minting, listing, revoking: 403 says what would; also for a key that was minted without it,
    which cannot give what it does not have."""
    secret = await stack.key(delegates=True)
    plain = await stack.key()
    made = await mint(stack, secret)
    for each in (plain, made["key"]):
        for answer in (
            await stack.call(each, {"name": "x", "delegates": True}, KEYS),
            await stack.get(each, KEYS),
            await delete(stack, each, made["id"]),
        ):
            error = error_of(answer, 403, "delegation_refused")
            assert "--delegates" in error["message"]


async def test_endpoints_bind_this_one_too(stack: Stack) -> None:
    """A key that delegates and may not use /v1/keys mints nothing."""
    secret = await stack.key(delegates=True, endpoints=("/v1/chat/*",))
    answer = await stack.call(secret, {"name": "x"}, KEYS)
    error_of(answer, 403, "model_not_allowed")
    narrow = await stack.key(delegates=True, endpoints=(KEYS,))
    made = await mint(stack, narrow)
    error_of(await delete(stack, narrow, made["id"]), 403, "model_not_allowed")


async def test_depth_is_bounded(stack: Stack) -> None:
    """A line of keys ends at sixteen segments, with a 400 that says so."""
    secret = await stack.key(delegates=True)
    for _ in range(13):
        secret = (await mint(stack, secret, delegates=True))["key"]
    assert (await stack.chat(secret)).status_code == 200
    before = await stack.ledger.state()
    answer = await stack.call(secret, {"name": "x"}, KEYS)
    error = error_of(answer, 400, "invalid_request_error")
    assert (error["param"], "16 segments" in error["message"]) == ("scope", True)
    assert await stack.ledger.state() == before


async def test_a_family_is_bounded(make_stack: MakeStack) -> None:
    """By a setting, for the operator's key and all that come from it; 0 is none at all."""
    stack = await make_stack(GatewayOptions(minted_keys_max=2))
    secret = await stack.key(delegates=True)
    made = await mint(stack, secret, delegates=True)
    await mint(stack, made["key"])
    for each in (secret, made["key"]):
        answer = await stack.call(each, {"name": "x"}, KEYS)
        error = error_of(answer, 403, "delegation_refused")
        assert error["reason"] == "too_many_keys"
        assert "minted_keys_max" in error["message"]
    none = await make_stack(GatewayOptions(minted_keys_max=0))
    answer = await none.call(await none.key(delegates=True), {"name": "x"}, KEYS)
    error_of(answer, 403, "delegation_refused")


async def test_nothing_is_minted_where_it_could_never_be_used(stack: Stack) -> None:
    """Below a scope that is closed: 400 that names it."""
    secret = await stack.key(delegates=True)
    own = stack.keys[secret].key_scope
    made = await mint(stack, secret)
    await delete(stack, secret, made["id"])
    answer = await stack.call(secret, {"name": "x", "scope": made["budget_scope"]}, KEYS)
    error = error_of(answer, 400, "invalid_request_error")
    assert made["budget_scope"] in error["message"]
    assert (await mint(stack, secret, scope=f"{own}/run-1"))["scope"] == f"{own}/run-1"


async def test_what_the_minters_scope_says_of_children_holds(stack: Stack) -> None:
    """Limits of its own would take a key out of the template of its minter's scope: they must name
    what it says, and no more of it."""
    template = [{"usd": "0.5", "window": "day"}, {"requests": 5}]
    secret = await stack.key(delegates=True)
    await stack.set_budget(
        stack.keys[secret].key_scope.partition("/")[2], {"per_child": template, "kind": "key"}
    )
    own = stack.keys[secret].key_scope
    for budget in ([{"usd": "0.5"}], [{"usd": "0.6", "window": "day"}, {"requests": 5}]):
        answer = await stack.call(secret, {"name": "x", "budget": budget}, KEYS)
        assert error_of(answer, 403, "delegation_refused")["param"] == "budget"
    for more in ({"budget": template}, {}, {"scope": f"{own}/run", "budget": [{"usd": "9"}]}):
        made = await mint(stack, secret, **more)
        scopes = (await stack.get(made["key"], "/v1/budget")).json()["scopes"]
        limits = [limit for each in scopes for limit in each["limits"]]
        assert ("usd", "day", "0.50") in {
            (limit["dimension"], limit["window"], limit["limit"]) for limit in limits
        }


async def test_an_idempotency_key_is_refused(stack: Stack) -> None:
    """The secret is not kept, so the answer cannot be repeated: said, not ignored. A call that is
    repeated without it mints a second key, which can be revoked."""
    secret = await stack.key(delegates=True)
    answer = await posted(stack, secret, b'{"name": "a"}', **{"idempotency-key": "one"})
    error = error_of(answer, 400, "invalid_request_error")
    assert "mints a second key" in error["message"]
    assert await listed(stack, secret) == []
    first, second = [await mint(stack, secret) for _ in range(2)]
    assert first["id"] != second["id"]
    assert (await delete(stack, secret, second["id"])).status_code == 200
    assert (await stack.chat(first["key"])).status_code == 200


async def test_nobody_revokes_what_did_not_come_from_it(stack: Stack) -> None:
    """Its own key, its minter, its sibling, another's, none, hostile ids: one and the same 404, and
    all of them work on."""
    secret, other = await stack.key(delegates=True), await stack.key(delegates=True)
    mine = await mint(stack, secret, delegates=True)
    aside = await mint(stack, secret, delegates=True)
    ids = [stack.keys[secret].id, stack.keys[other].id, mine["id"], aside["id"]]
    hostile = ["", "x", "...", "*", "[a-z]", "%00", "a" * 65, "key-1%0d%0aDEL", "%D0%B0"]
    messages = set()
    for each in (*ids, *hostile):
        answer = await delete(stack, mine["key"], each)
        messages.add(error_of(answer, 404, "key_not_found")["message"])
    assert len(messages) == 1
    for each in ("a/b", "a%2fb"):
        error_of(await delete(stack, mine["key"], each), 404, "endpoint_not_found")
    for each in (secret, other, mine["key"], aside["key"]):
        assert (await stack.chat(each)).status_code == 200


async def test_other_methods_are_refused(stack: Stack) -> None:
    """405 where the path exists, with a key or without."""
    for method, path in (("PUT", KEYS), ("GET", f"{KEYS}/x"), ("POST", f"{KEYS}/x/rotate")):
        answer = await stack.client.request(method, path, headers={"x-api-key": new_secret()})
        assert answer.status_code == (404 if path.endswith("rotate") else 405)
