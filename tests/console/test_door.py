"""The door: nothing without a token, nothing beyond a role, one shape for every error, and no
secret in any answer or log."""

import dataclasses
import logging
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from console.app import RoleMissing, build_console, calls_of
from console.door import OPEN, is_open
from console.options import ConsoleOptions
from console.token_store import ROLES, Role
from tests.console.desk import ADMIN_SECRET, Console

NOT_OPEN = ("/v1/nothing", "/", "/metrics", "/v1/keys/", "/docs/", "/redoc", "/healthz/x")


def _filled(path: str) -> str:
    return re.sub(r"\{\w+\}", "some", path)


async def test_every_call_needs_a_token(console: Console) -> None:
    """All calls that there are, and those that there are not, are 401 without a token or with a
    wrong one, before anything else is looked at."""
    calls = [(path, method) for path, method, _ in calls_of(console.app) if not is_open(path)]
    assert len(calls) > 15
    for path, method in [*calls, *((path, "GET") for path in NOT_OPEN)]:
        for headers in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {ADMIN_SECRET}"},
            {"authorization": ADMIN_SECRET},
            {"authorization": "Bearer "},
            {"authorization": f"Bearer {ADMIN_SECRET[:-1]}"},
            {"authorization": f"Bearer {ADMIN_SECRET}x"},
            {"authorization": f"Bearer {'x' * 10_000}"},
            {"x-api-key": ADMIN_SECRET},
            {"cookie": f"token={ADMIN_SECRET}"},
        ):
            answer = await console.client.request(method, _filled(path), headers=headers)
            assert answer.status_code == 401, (method, path, headers)
            assert answer.json()["error"]["code"] == "invalid_admin_token"
            assert answer.headers["www-authenticate"] == "Bearer"


async def test_two_authorization_headers_are_none(console: Console) -> None:
    """Two readers of a request could take one or the other."""
    headers = [("authorization", f"Bearer {ADMIN_SECRET}"), ("authorization", "Bearer other")]
    answer = await console.client.get("/v1/keys", headers=headers)
    assert answer.status_code == 401


async def test_health_and_documentation_are_open(console: Console) -> None:
    """What holds no data answers anybody, and nothing else is in that list."""
    assert set(OPEN) == {"/healthz", "/readyz", "/docs", "/openapi.json"}
    for path in OPEN:
        answer = await console.client.get(path)
        assert answer.status_code == 200, path


async def test_every_call_needs_its_role(console: Console) -> None:
    """For each call and each role: refused as such below the role that it names, let through from
    there on. Whoever writes is at least an operator."""
    tokens: dict[Role, str] = {role: await console.token(role) for role in ROLES}
    for path, method, least in calls_of(console.app):
        if is_open(path) or path == "/v1/events/stream":
            continue
        reads = method == "GET" or path == "/v1/sql"
        assert least == ("admin" if path.startswith("/v1/tokens") else least)
        assert reads or least in ("operator", "admin"), path
        for role in ROLES:
            answer = await console.call(method, _filled(path), token=tokens[role])
            enough = ROLES.index(role) >= ROLES.index(least)
            assert (answer.status_code != 403) == enough, (method, path, role)
            if not enough:
                error = answer.json()["error"]
                assert error["code"] == "role_not_allowed"
                assert f"needs the role {least}" in error["message"]


async def test_a_call_without_a_role_is_not_built(
    console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adds a call and forgets who may make it finds out at once."""

    class Careless:
        @staticmethod
        def add_routes(app: FastAPI, _: object) -> None:
            @app.get("/v1/careless")
            async def careless() -> None: ...

    monkeypatch.setattr("console.app.RESOURCES", (Careless,))
    with pytest.raises(RoleMissing, match="/v1/careless"):
        build_console(console.parts)


async def test_an_expired_token_is_none(console: Console) -> None:
    """From its end on, and it is told so."""
    now_ms = console.parts.session.clock.now_ms()
    late = await console.token("admin", expires_at_ms=now_ms - 1)
    good = await console.token("admin", expires_at_ms=now_ms + 60_000)
    error = await console.refused(401, "invalid_admin_token", "GET", "/v1/keys", token=late)
    assert "expired" in error["message"]
    await console.done("GET", "/v1/keys", token=good)


@pytest.fixture
def options() -> ConsoleOptions:
    """Small bodies."""
    return ConsoleOptions(body_bytes_max=2_000)


async def test_a_huge_body_is_refused(console: Console) -> None:
    """By its length before it is read, and without a length as soon as it is too long; a stranger's
    is not even read."""
    big = b'{"query": "' + b"x" * 3_000 + b'"}'

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(big), 500):
            yield big[start : start + 500]

    for content in (big, pieces()):
        error = await console.refused(
            *(413, "invalid_request_error", "POST", "/v1/sql"), content=content
        )
        assert "2000 bytes" in error["message"]
    answer = await console.client.post("/v1/sql", content=big)
    assert answer.status_code == 401
    headers = {"content-length": "many"}
    await console.refused(
        *(400, "invalid_request_error", "POST", "/v1/sql"), content=b"{}", headers=headers
    )


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON object"),
        (b"{", "not JSON"),
        (b"[]", ""),
        (b'"text"', ""),
        (b'{"scope": "a", "scope": "b"}', "twice"),
        (b'{"scope": NaN}', "NaN"),
        (b"\xff\xfe", ""),
        (b"[" * 1_900, ""),
        (b'{"scope": 5}', "scope"),
        (b'{"scop": "a"}', "did you mean 'scope'?"),
        (b'{"scope": "a", "secret-thing": "hunter2"}', "unknown field 'secret-thing'"),
        (b'{"scope": "../etc/passwd"}', "scope"),
        (b'{"scope": "a//b"}', "scope"),
        (b'{"scope": ""}', "scope"),
        (b'{"scope": "a\\u0000b"}', "scope"),
    ],
)
async def test_what_cannot_be_read_is_a_400_that_says_why(
    console: Console, body: bytes, says: str
) -> None:
    """Malformed, ambiguous and unknown: the same shape, the field's name, and never its value."""
    headers = {"content-type": "application/json"}
    error = await console.refused(
        *(400, "invalid_request_error", "POST", "/v1/budgets/freeze"), content=body, headers=headers
    )
    assert says in error["message"]
    assert "hunter2" not in str(error)


async def test_unknown_query_fields_are_refused(console: Console) -> None:
    """A filter that was misspelt must not be no filter."""
    error = await console.refused(400, "invalid_request_error", "GET", "/v1/keys?scop=acme")
    assert error["param"] == "scop"
    assert "did you mean 'scope'?" in error["message"]
    error = await console.refused(400, "invalid_request_error", "GET", "/v1/keys?limit=0")
    assert error["param"] == "limit"


async def test_routes_that_are_not_there(console: Console) -> None:
    """404 and 405 in the one shape; no path leads out of the table."""
    for path in ("/v1/nothing", "/v1/keys/../tokens/x/y", "/v1/keys/..%2f..%2fetc", "/v1/keys/"):
        await console.refused(404, "not_found", "GET", path)
    await console.refused(404, "not_found", "GET", "/v1/keys/..%5c..%5cetc")
    await console.refused(404, "not_found", "GET", "/v1/keys/key-%00")
    await console.refused(405, "method_not_allowed", "PATCH", "/v1/keys")


async def test_every_answer_says_that_it_is_nobodys_to_keep(console: Console) -> None:
    """Errors too; and no other site's page may read one."""
    for path, token in (("/v1/keys", ADMIN_SECRET), ("/v1/keys", "no"), ("/docs", "")):
        headers = {"origin": "https://evil.example", "authorization": f"Bearer {token}"}
        answer = await console.client.get(path, headers=headers)
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "set-cookie" not in answer.headers


async def test_no_secret_is_answered_or_logged(
    console: Console, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token is in no answer but the one that made it, and in no log, whatever goes wrong; nor is
    what is kept of it."""
    caplog.set_level(logging.DEBUG)
    for client in ("httpx", "httpcore"):  # the test's own: it logs the URLs that it asks for
        caplog.set_level(logging.ERROR, client)
    made = await console.done("POST", "/v1/tokens", {"name": "ann", "role": "admin"})
    secret, sha256 = made["token"], (await console.parts.tokens.all())[0].secret_sha256
    answers = [await console.call("GET", "/v1/tokens", token=secret)]
    answers += [await console.call("GET", f"/v1/{secret}", token=secret)]
    answers += [await console.call("POST", "/v1/keys", {"nam": secret}, token=secret)]
    answers += [await console.call("POST", "/v1/keys", {"name": secret * 9}, token=secret)]

    async def breaks() -> list[str]:
        raise RuntimeError("broken")

    monkeypatch.setattr(type(console.parts.overview), "organisations", lambda _: breaks())
    answers += [broken := await console.call("GET", "/v1/keys", token=secret)]
    assert broken.status_code == 500
    assert broken.json()["error"]["code"] == "internal_error"
    assert "broken" not in broken.text
    assert "RuntimeError: broken" in caplog.text
    for text in (
        caplog.text,
        *(each.text for each in answers[:1]),
        *(str(a.headers) for a in answers),
    ):
        assert secret not in text
        assert sha256 not in text
    for each in answers[2:]:
        assert secret not in each.text


async def test_a_ledger_that_is_away_is_a_503(console: Console) -> None:
    """Everything but the health check says so; readiness follows the ledger."""
    console.stage.server.stop()
    answer = await console.client.get("/readyz", timeout=60)
    assert answer.status_code == 503
    assert answer.json() == {"ready": False, "ledger": "away", "records": "away"}
    assert (await console.client.get("/healthz")).status_code == 200


async def test_it_is_not_ready_before_all_is_declared(recorded: Console) -> None:
    """Both answer, and keys of the configuration are still on their way: 503."""
    declared: list[bool] = []
    parts = dataclasses.replace(recorded.parts, is_declared=lambda: bool(declared))
    transport = httpx.ASGITransport(build_console(parts))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        answer = await client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json() == {"ready": False, "ledger": "ok", "records": "ok"}
        declared.append(True)
        assert (await client.get("/readyz")).status_code == 200


async def test_readiness_tells_ledger_and_records_apart(
    console: Console, recorded: Console
) -> None:
    """Without records keys and budgets still work, so it is ready."""
    answer = await console.client.get("/readyz")
    assert (answer.status_code, answer.json()) == (
        *(200,),
        {"ready": True, "ledger": "ok", "records": "away"},
    )
    answer = await recorded.client.get("/readyz")
    assert answer.json() == {"ready": True, "ledger": "ok", "records": "ok"}
