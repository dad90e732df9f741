"""What the gateway, or a user's server, answers becomes an answer, a wait or a failure; a key goes
to nobody who could be overheard, and no answer is larger or later than its bound."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from gateway.dialects.openai_error import error_body
from gateway.errors import BudgetExceeded, GatewayError, InvalidKey, LedgerGone, RateLimited
from orchestrator.kinds.contract import Answer, BudgetUsedUp, Held, StepFailed, UsedUpForNow
from orchestrator.running import calls, sends, streamed
from orchestrator.running.calls import GatewayCalls
from orchestrator.running.sends import Sends, Sent
from orchestrator.running.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature
from tests.gateway.behaviours import DONE, word_events
from tests.orchestrator.documented import signature_check
from tests.orchestrator.running.workshop import wire

SIGNING = b"shared"


@dataclass
class Server:
    """One request for each connection; answers with `status`, `headers` and `body`, or not at all
    (None)."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = b"{}"
    url: str = ""
    heads: list[dict[str, str]] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """See asyncio.start_server."""
        first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        self.lines.append(first)
        fields = [each.split(": ", 1) for each in rest if each]
        self.heads.append({name.lower(): value for name, value in fields})
        self.bodies.append(await reader.readexactly(int(self.heads[-1].get("content-length", 0))))
        if self.body is None:
            await reader.read()  # until the client hangs up
        else:
            said = {"connection": "close", "content-length": str(len(self.body)), **self.headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in said.items())
            writer.write(f"HTTP/1.1 {self.status} X\r\n{head}\r\n".encode() + self.body)
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """On this machine."""
    found = Server()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    host, port = listening.sockets[0].getsockname()
    found.url = f"http://{host}:{port}"
    async with listening:
        yield found


@pytest.fixture
async def ask(server: Server) -> AsyncIterator[Callable[..., Any]]:
    """Asks the server as a gateway."""
    gateway = GatewayCalls(wire())

    async def asked(
        timeout_s: float = 10, said: Callable[[str], None] | None = None, **body: Any
    ) -> Answer:
        base, path = f"{server.url}/v1/", "/chat/completions"
        return await gateway.ask(base, "ck-1", path, body, "r1/a/1", timeout_s, said)

    yield asked
    await gateway.close()


@pytest.fixture
async def send(server: Server) -> AsyncIterator[Callable[..., Any]]:
    """Sends the server a user's request."""
    requests = Sends(SIGNING)

    async def sent(path: str = "/run", timeout_s: float = 10, **fields: Any) -> Answer:
        given = {"method": "POST", "headers": {}, "body": None, "attempt": "r1/a/1", **fields}
        url = path if "://" in path else server.url + path
        return await requests.send(Sent(url=url, **given), timeout_s)

    yield sent
    await requests.close()


async def test_a_call_is_made_with_its_key_and_its_name(
    ask: Callable[..., Any], server: Server
) -> None:
    """And nothing of the environment."""
    server.body = b'{"choices": [1]}'
    answer = await ask(model="m", text="\ud800")
    assert (answer.status, answer.body) == (200, {"choices": [1]})
    assert server.lines == ["POST /v1/chat/completions HTTP/1.1"]
    assert server.heads[0]["authorization"] == "Bearer ck-1"
    assert server.heads[0]["idempotency-key"] == "r1/a/1"
    assert json.loads(server.bodies[0]) == {"model": "m", "text": "?"}


async def test_a_call_is_streamed_where_somebody_listens(
    ask: Callable[..., Any], server: Server
) -> None:
    """And is answered as if it had come whole; who answers whole all the same is understood."""
    heard: list[str] = []
    server.headers = {"content-type": "text/event-stream; charset=utf-8"}
    server.body = b"".join((*word_events(("a", "b")), DONE))
    answer = await ask(model="m", said=heard.append)
    assert json.loads(server.bodies[0]) == {"model": "m", **streamed.ASKS}
    assert "".join(heard) == "ab"
    assert answer.body["choices"][0]["message"]["content"] == "ab"
    server.headers, server.body = {"content-type": "application/json"}, b'{"choices": [1]}'
    assert (await ask(model="m", said=heard.append)).body == {"choices": [1]}


async def test_a_stream_that_breaks_off_has_failed(ask: Callable[..., Any], server: Server) -> None:
    """Not for good: before its end, or before the length that it was to have."""
    server.headers = {"content-type": "text/event-stream"}
    server.body = b"".join(word_events())
    with pytest.raises(StepFailed, match="broke off") as ended:
        await ask(said=print)
    server.headers["content-length"] = "100000"
    with pytest.raises(StepFailed, match="broke off") as lost:
        await ask(said=print)
    assert not ended.value.is_final
    assert not lost.value.is_final


def answer_to(error: GatewayError, status: int = 0) -> Answer:
    """As the gateway writes it."""
    headers = {name.decode(): value.decode() for name, value in error.headers}
    return Answer(status or error.status, headers, json.loads(error_body(error)))


EXHAUSTED = "budget of acme/r1/plan ($0.10): $0.00 free, $0.02 asked."


@pytest.mark.parametrize(
    ("status", "scope"), [(402, "acme/r1/plan"), (429, "acme/r1/plan"), (402, "")]
)
def test_a_budget_that_is_used_up_is_named(status: int, scope: str) -> None:
    """Whatever status the gateway is set to."""
    found = calls.meaning(answer_to(BudgetExceeded(status, EXHAUSTED, "exhausted", scope)))
    assert isinstance(found, BudgetUsedUp)
    assert (found.scope, str(found), found.is_final) == (scope, EXHAUSTED, True)


def test_a_budget_that_is_used_up_for_now_says_until_when() -> None:
    """Then nothing has failed."""
    error = BudgetExceeded(402, EXHAUSTED, "exhausted", "acme/r1/plan", 1_790_812_800_000)
    found = calls.meaning(answer_to(error))
    assert isinstance(found, UsedUpForNow)
    assert (found.scope, found.resets_at_ms) == ("acme/r1/plan", 1_790_812_800_000)


@pytest.mark.parametrize("reason", ["run_halted", "route_stopped", "request_too_large"])
def test_more_budget_would_not_help(reason: str) -> None:
    """Then it has failed, and nobody is asked for more."""
    found = calls.meaning(answer_to(BudgetExceeded(402, "x", reason)))
    assert type(found) is StepFailed
    assert found.is_final


@pytest.mark.parametrize(
    ("answer", "again_in_ms", "is_timed"),
    [
        (answer_to(RateLimited("held", "held", 7)), 7_000, False),
        (answer_to(RateLimited("held", "held", 86_400)), calls.AGAIN_MS_MAX, False),
        (answer_to(RateLimited("rests", "cooling_down", 7)), 7_000, True),
        (answer_to(LedgerGone("away")), 1_000, False),
        (Answer(429, {"retry-after": "soon"}, None), calls.AGAIN_MS, True),
        (answer_to(BudgetExceeded(402, "scope x is frozen", "frozen")), calls.FROZEN_MS, False),
        (
            Answer(409, {}, {"error": {"code": "idempotency_conflict", "reason": "in_flight"}}),
            *(1_000, True),
        ),
    ],
)
def test_what_comes_free_again_is_waited_for(
    answer: Answer, again_in_ms: int, is_timed: bool
) -> None:
    """For as long as it says, within bounds; in the step's own time where a provider says so."""
    found = calls.meaning(answer)
    assert isinstance(found, Held)
    assert (found.again_in_ms, found.is_timed) == (again_in_ms, is_timed)


CONFLICT = {"error": {"code": "idempotency_conflict", "reason": "unknown", "message": "lost"}}


@pytest.mark.parametrize(
    ("answer", "is_final", "words"),
    [
        (answer_to(InvalidKey("this key was revoked")), True, "its key was revoked"),
        (Answer(400, {}, {"error": {"message": "bad temperature"}}), True, "bad temperature"),
        (Answer(403, {}, {"error": "no"}), True, "no"),
        (Answer(404, {}, None), True, "404"),
        (Answer(413, {}, "too large"), True, "too large"),
        (Answer(422, {}, {"detail": "x"}), True, "detail"),
        (Answer(429, {}, "slow down"), False, "slow down"),
        (Answer(409, {}, CONFLICT), False, "lost"),
        (Answer(500, {}, "x" * 10_000), False, "500"),
        (Answer(503, {"retry-after": "5"}, {"error": {"code": "overloaded"}}), False, "503"),
        (Answer(302, {}, None), True, "302"),
    ],
)
def test_everything_else_has_failed(answer: Answer, is_final: bool, words: str) -> None:
    """For good where it would be answered in the same way again."""
    found = calls.meaning(answer)
    assert type(found) is StepFailed
    assert found.is_final is is_final
    assert words in str(found)
    assert len(str(found)) < calls.SHOWN_CHARS_MAX + 100


async def test_a_refusal_is_raised(ask: Callable[..., Any], server: Server) -> None:
    """As what it means."""
    refusal = BudgetExceeded(402, EXHAUSTED, "exhausted", "acme/r1/plan")
    server.status, server.body = 402, error_body(refusal)
    with pytest.raises(BudgetUsedUp) as refused:
        await ask()
    assert refused.value.scope == "acme/r1/plan"


async def test_a_gateway_that_is_not_there_is_a_failure(
    ask: Callable[..., Any], server: Server
) -> None:
    """Not for good; without the key in its words."""
    server.body = None
    with pytest.raises(StepFailed, match=r"did not answer within 0\.05 s") as late:
        await ask(timeout_s=0.05)
    server.url = "http://127.0.0.1:9"
    with pytest.raises(StepFailed, match="cannot be reached") as gone:
        await ask()
    assert not late.value.is_final
    assert not gone.value.is_final
    assert "ck-1" not in str(late.value) + str(gone.value)


async def test_bodies_are_bounded(
    ask: Callable[..., Any],
    send: Callable[..., Any],
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Both ways, for gateways and for servers; what is too long is not sent."""
    for module in (calls, sends):
        monkeypatch.setattr(module, "REQUEST_BYTES_MAX", 100)
        monkeypatch.setattr(module, "ANSWER_BYTES_MAX", 1_000)
    with pytest.raises(StepFailed, match="at most 100 are sent"):
        await ask(text="x" * 100)
    with pytest.raises(StepFailed, match="at most 100 are sent"):
        await send(body="x" * 100)
    assert server.lines == []
    server.body = b"x" * 1_001
    for asked in (ask(), send()):
        with pytest.raises(StepFailed, match="more than 1000 bytes"):
            await asked


async def test_a_request_is_signed(send: Callable[..., Any], server: Server) -> None:
    """Over its body and its time; ours are above the user's headers, and no key goes along that
    nobody asked for."""
    server.body = b"done"
    answer = await send(
        body={"a": 1}, headers={"X-Mine": "1", "X-Comptroller-Attempt": "other"},
        callback_url="http://here/callback",
    )  # fmt: skip
    assert (answer.status, answer.body) == (200, "done")
    (head,), (body,) = server.heads, server.bodies
    timestamp = head["x-comptroller-timestamp"]
    assert head["x-comptroller-signature"] == signature(SIGNING, timestamp, body)
    assert signature_check()(SIGNING.hex(), head, body)
    assert head["x-comptroller-attempt"] == "r1/a/1"
    assert head["x-comptroller-callback"] == "http://here/callback"
    assert (head["x-mine"], head["content-type"]) == ("1", "application/json")
    assert "authorization" not in head
    assert json.loads(body) == {"a": 1}


async def test_a_request_without_a_body_has_none(send: Callable[..., Any], server: Server) -> None:
    """And the user's own authorization stays where no key goes."""
    await send("/run?a=1", method="GET", headers={"Authorization": "Basic x"})
    assert server.lines == ["GET /run?a=1 HTTP/1.1"]
    assert server.heads[0]["authorization"] == "Basic x"
    assert server.bodies == [b""]
    assert "content-type" not in server.heads[0]


async def test_a_key_goes_to_this_machine_or_by_https(
    send: Callable[..., Any], server: Server
) -> None:
    """Where it is asked for; to elsewhere nothing is sent at all."""
    await send(key="ck-1", base_url="http://gateway/v1")
    assert server.heads[0]["authorization"] == "Bearer ck-1"
    assert server.heads[0]["x-comptroller-base-url"] == "http://gateway/v1"
    for url in ("http://192.0.2.1/run", "http://localhost.example/", "http://127.0.0.1.example/"):
        with pytest.raises(StepFailed, match=r"gets no key.*use https") as failed:
            await send(url, key="ck-1")
        assert failed.value.is_final
        assert "ck-1" not in str(failed.value)
    with pytest.raises(StepFailed, match="cannot be reached"):  # it has tried
        await send("https://127.0.0.1:9/run", key="ck-1")


async def test_a_key_that_a_server_says_back_is_hidden(
    send: Callable[..., Any], server: Server
) -> None:
    """As one that shows its requests does."""
    server.body = b'{"authorization": "Bearer ck-1"}'
    answer = await send(key="ck-1", base_url="http://gateway/v1")
    assert answer.body == {"authorization": "Bearer ***"}


async def test_a_redirect_is_not_followed(send: Callable[..., Any], server: Server) -> None:
    """A signature, or a key, would go where nobody sent it."""
    server.status, server.headers = 307, {"location": f"{server.url}/other"}
    assert (await send(key="ck-1")).status == 307
    assert len(server.lines) == 1


@pytest.mark.parametrize(
    ("path", "headers"),
    [("/run", {"x": "a\r\nb: c"}), ("/run", {"x": "ü"}), ("/run", {"a b": "c"}),
     ("http://[::1", {}), ("ftp://127.0.0.1/", {}), ("http://127.0.0.1:99999/", {})],
)  # fmt: skip
async def test_what_a_template_made_of_a_request_is_looked_at(
    send: Callable[..., Any], server: Server, path: str, headers: dict[str, str]
) -> None:
    """A model's answer adds no header of its own."""
    with pytest.raises(StepFailed, match="malformed") as failed:
        await send(path, headers=headers)
    assert failed.value.is_final
    assert server.lines == []


async def test_a_server_that_is_silent_is_a_failure(
    send: Callable[..., Any], server: Server
) -> None:
    """Not for good."""
    server.body = None
    with pytest.raises(StepFailed, match=r"within 0\.05 s") as failed:
        await send(timeout_s=0.05)
    assert not failed.value.is_final


def test_an_old_or_changed_request_is_not_ours() -> None:
    """In its time, its body, its secret or its signature, by the check that servers are given."""
    check, now_s = signature_check(), int(time.time())
    now, old, early = (str(now_s + by) for by in (0, -400, 400))

    def is_ours(timestamp: str, body: bytes, signed: str, secret: bytes = SIGNING) -> bool:
        headers = {TIMESTAMP_HEADER: timestamp, SIGNATURE_HEADER: signed}
        return check(secret.hex(), headers, body)

    signed = signature(SIGNING, now, b"body")
    assert is_ours(now, b"body", signed)
    assert not is_ours(now, b"body", signed, b"other")
    assert not is_ours(str(now_s + 1), b"body", signed)
    assert not is_ours(now, b"bodies", signed)
    assert not is_ours(now, b"body", signed[:-1] + "ü")
    for timestamp in (old, early, "now"):
        assert not is_ours(timestamp, b"body", signature(SIGNING, timestamp, b"body"))
