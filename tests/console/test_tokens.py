"""Admin tokens: made once, kept as a hash, shared by all consoles, dead when deleted."""

import pytest

from console.options import ConsoleOptions
from console.token_store import TOKENS_KEY, TokenStore, ensure_first_token
from tests.console.desk import ADMIN_SECRET, Console

SHAPE = {"name", "role", "organisation", "created_at_ms", "expires_at_ms", "by"}


async def test_a_token_is_made_used_listed_and_deleted(console: Console) -> None:
    """Its secret is in one answer; the list has all else; deleted, it is dead at the next call."""
    made = await console.done("POST", "/v1/tokens", {"name": "ann", "role": "viewer"})
    assert set(made) == {*SHAPE, "token"}
    assert made["token"].startswith("ca-")
    assert (made["role"], made["by"], made["organisation"]) == ("viewer", "first", None)
    secret = made.pop("token")
    await console.done("GET", "/v1/keys", token=secret)
    listed = await console.done("GET", "/v1/tokens")
    assert [each["name"] for each in listed["tokens"]] == ["ann", "first"]
    assert listed["tokens"][0] == made
    assert await console.done("DELETE", "/v1/tokens/ann") == made
    await console.refused(401, "invalid_admin_token", "GET", "/v1/keys", token=secret)
    await console.refused(404, "not_found", "DELETE", "/v1/tokens/ann")


async def test_the_ledger_holds_no_secret(console: Console) -> None:
    """Neither a made one nor the first."""
    made = await console.done("POST", "/v1/tokens", {"name": "ann", "role": "viewer"})
    kept = await console.desk.transport.command("HGETALL", TOKENS_KEY)
    assert isinstance(kept, list)
    everything = b"".join(kept).decode()
    assert ADMIN_SECRET not in everything
    assert made["token"].removeprefix("ca-")[:12] not in everything


async def test_a_token_expires(console: Console) -> None:
    """`expires_in` counts from now, and is a duration."""
    made = await console.done(
        *("POST", "/v1/tokens", {"name": "ann", "role": "viewer", "expires_in": "30d"})
    )
    assert made["expires_at_ms"] - made["created_at_ms"] == 30 * 86_400_000
    body = {"name": "bob", "role": "viewer", "expires_in": "soon"}
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/tokens", body)
    assert error["param"] == "expires_in"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"role": "root"}, "role"),
        ({"name": "../x"}, "name"),
        ({"name": "x" * 49}, "name"),
        ({"name": "first"}, "name"),
        ({"name": "gateway"}, "name"),
        ({"organisation": "a/b"}, "organisation"),
        ({"organisation": 5}, "organisation"),
        ({"roles": "viewer"}, "roles"),
    ],
)
async def test_a_token_that_cannot_be(
    console: Console, fields: dict[str, object], param: str
) -> None:
    """Each bad field is named, and nothing is made."""
    body = {"name": "ann", "role": "viewer", **fields}
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/tokens", body)
    assert error["param"] == param
    assert [each.name for each in await console.parts.tokens.all()] == ["first"]


async def test_a_name_is_given_once(console: Console) -> None:
    """Else whoever asks for a token could take over another's name in the log."""
    body = {"name": "ann", "role": "viewer"}
    made = await console.done("POST", "/v1/tokens", body)
    await console.refused(409, "conflict", "POST", "/v1/tokens", {**body, "role": "admin"})
    await console.refused(403, "role_not_allowed", "GET", "/v1/tokens", token=made["token"])


@pytest.fixture
def options() -> ConsoleOptions:
    """Few tokens."""
    return ConsoleOptions(tokens_max=3)


async def test_tokens_are_bounded(console: Console) -> None:
    """Beyond the bound none is made; expired ones make room."""
    now_ms = console.parts.session.clock.now_ms()
    await console.token("viewer", expires_at_ms=now_ms - 1)
    await console.token("viewer")
    await console.done("POST", "/v1/tokens", {"name": "ann", "role": "viewer"})
    error = await console.refused(
        *(409, "conflict", "POST", "/v1/tokens", {"name": "bob", "role": "viewer"})
    )
    assert "3 tokens" in error["message"]
    assert len(await console.parts.tokens.all()) == 3


async def test_the_first_token_follows_its_setting(console: Console) -> None:
    """Said again it changes nothing; changed, the old secret is dead and the new one works."""
    session = console.parts.session
    before = await console.parts.tokens.named("first")
    await ensure_first_token(session, ADMIN_SECRET)
    assert await console.parts.tokens.named("first") == before
    await ensure_first_token(session, "another-secret-of-some-length")
    await console.refused(401, "invalid_admin_token", "GET", "/v1/tokens")
    await console.done("GET", "/v1/tokens", token="another-secret-of-some-length")
    for weak in ("short", "with spaces in between it", "x" * 600, "münchen-ist-eine-stadt"):
        with pytest.raises(ValueError, match="COMPTROLLER_ADMIN_TOKEN"):
            await ensure_first_token(session, weak)


async def test_another_console_knows_at_once(console: Console) -> None:
    """Tokens are the ledger's, not a process's."""
    other = TokenStore(console.parts.session, 10)
    made = await console.done("POST", "/v1/tokens", {"name": "ann", "role": "viewer"})
    found = await other.find(made["token"].encode())
    assert found is not None
    await other.remove("ann")
    await console.refused(401, "invalid_admin_token", "GET", "/v1/keys", token=made["token"])
