"""Bodies and query strings that are not what they seem."""

import json

import pytest

from tests.console.desk import Console

HALF = "\ud800"


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "/v1/budgets", {"scope": "acme", "limits": [{"usd": "1", "models": [HALF]}]}),
        ("PUT", "/v1/budgets", {"scope": "acme", "limits": [], "kind": HALF}),
        ("POST", "/v1/keys", {"name": "a", "scope": "acme", "tags": {HALF: "x"}}),
        ("POST", "/v1/sql", {"query": "SELECT {x:String}", "parameters": {"x": HALF}}),
        ("POST", "/v1/sql", {"query": "SELECT {x:Array(String)}", "parameters": {"x": [HALF]}}),
    ],
)
async def test_half_a_character_is_the_callers_fault(
    console: Console, method: str, path: str, body: object
) -> None:
    """Which JSON can spell: told as such, whatever the field, and no fault of the console."""
    content = json.dumps(body).encode()
    assert b"ud800" in content
    headers = {"content-type": "application/json"}
    answer = await console.call(method, path, content=content, headers=headers)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["code"] == "invalid_request_error"


async def test_whole_characters_may_be_spelt_in_halves(console: Console) -> None:
    """As JSON spells those beyond 16 bits."""
    body = b'{"name": "a", "scope": "acme", "agent": "\\ud83d\\ude00"}'
    headers = {"content-type": "application/json"}
    key = await console.done("POST", "/v1/keys", content=body, headers=headers)
    assert key["agent"] == "\U0001f600"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/keys?scope=acme&scope=globex"),
        ("DELETE", "/v1/budgets?scope=acme&scope=globex"),
        ("GET", "/v1/events?limit=1&limit=2"),
    ],
)
async def test_a_field_that_is_there_twice_is_refused(
    console: Console, method: str, path: str
) -> None:
    """In a query string as in a body: of two, one would silently not count."""
    for scope in ("acme", "globex"):
        await console.done("PUT", "/v1/budgets", {"scope": scope, "limits": [{"requests": 1}]})
    error = await console.refused(400, "invalid_request_error", method, path)
    assert "twice" in error["message"]
    assert error["param"] in ("scope", "limit")
    kept = await console.done("GET", "/v1/budgets?scope=globex")
    assert len(kept["limits"]) == 1


async def test_a_scope_is_a_keys_or_never(console: Console) -> None:
    """By its kind the console decides whether the template of the scope above binds it, the gateway
    by its key: who could change a kind could make the two show different budgets."""
    key = await console.done("POST", "/v1/keys", {"name": "k", "scope": "acme"})
    for scope, kind in ((key["budget_scope"], "project"), ("acme/run", "key"), ("acme", "key")):
        body: dict[str, object] = {"scope": scope, "limits": [], "kind": kind}
        error = await console.refused(400, "invalid_request_error", "PUT", "/v1/budgets", body)
        assert error["param"] == "kind"
    for scope, kind in ((key["budget_scope"], "key"), ("acme/run", "run")):
        body = {"scope": scope, "limits": [{"requests": 1}], "kind": kind}
        assert (await console.done("PUT", "/v1/budgets", body))["kind"] == kind


@pytest.mark.parametrize("kind", ["", "\x1b[31m", "x" * 33, "Run", 5])
async def test_a_kind_is_a_short_word(console: Console, kind: object) -> None:
    """It is read by every worker and shown on terminals."""
    body = {"scope": "acme", "limits": [], "kind": kind}
    error = await console.refused(400, "invalid_request_error", "PUT", "/v1/budgets", body)
    assert error["param"] == "kind"


async def test_a_token_that_lives_for_nothing_is_refused(console: Console) -> None:
    """As a key is."""
    body = {"name": "ann", "role": "viewer", "expires_in": "0s"}
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/tokens", body)
    assert error["param"] == "expires_in"
