"""`comptroller up` with providers that only LiteLLM speaks to: one more part, started where one of
them is in model_list. What it does is paid to the nano-dollar, and what it does not is not. Killed
in the middle of requests it is back, and they are charged whole, because nobody knows."""

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.comptroller.standing import environment_of, files_with, until
from tests.gateway.ledger_view import LedgerView
from tests.gateway.processes import Running, comptroller_up, free_port
from tests.gateway.provider import Received, Reply
from tests.gateway.wire import Answer, Wire, post, request_bytes
from tests.translator import wires
from tests.translator.standing import (
    NEEDS_LITELLM,
    READY_S_MAX,
    SECRET,
    FixedProvider,
    model_list,
    provider_at,
)

pytestmark = NEEDS_LITELLM
KEY = "ck-a-secret-of-some-length"
CHARGED_NUSD = 11 * 1_000 + 12 * 2_000
BACK_S_MAX = 90  # it imports LiteLLM
IN_FLIGHT = 4  # as many as a route that is new may have


def config(port: int) -> dict[str, Any]:
    """One key with a thousand dollars."""
    return {
        "model_list": model_list(port),
        "budgets": {"acme/research": [{"usd": "1000"}]},
        "keys": [{"name": "ci", "scope": "acme/research", "secret": KEY}],
    }


def document(model: str, **more: Any) -> dict[str, Any]:
    """One request."""
    messages = [{"role": "user", "content": "hello there"}]
    return {"model": model, "messages": messages, "max_tokens": 50, **more}


async def ask(running: Running, model: str, **more: Any) -> Answer:
    """One call of the gateway."""
    return await post(running.port, KEY, document(model, **more))


@pytest.mark.timeout(300)
async def test_a_stack_with_a_translator(folder: Path) -> None:
    """What is served, refused, not reached and killed, in one stack."""
    port = free_port()
    async with (
        provider_at(port, wires.speaks(wires.gemini())) as provider,
        comptroller_up(folder, config=config(port), workers=1, ready_s_max=READY_S_MAX) as running,
    ):
        view = running.view("acme")
        try:
            await _is_paid_for(running, view, provider)
            await _costs_nothing(running, view, provider)
            await _is_killed(running, view, provider)
            _keeps_its_secrets(running)
        finally:
            await view.close()


async def _is_paid_for(running: Running, view: LedgerView, provider: FixedProvider) -> None:
    """By what the provider says, streamed or not."""
    whole = await ask(running, "gemini")
    assert whole.status == 200, whole.body
    assert whole.json["usage"]["cost"] == 0.000035
    assert provider.last.json["generationConfig"]["max_output_tokens"] == 50
    streamed = await ask(running, "gemini", stream=True, stream_options={"include_usage": True})
    assert b'"cost":0.000035' in streamed.body
    assert streamed.body.endswith(b"data: [DONE]\n\n")
    unasked = await ask(running, "gemini", stream=True)
    assert b'"usage"' not in unasked.body.replace(rb"\"usage\"", b"")
    provider.behaviour = wires.speaks(wires.converse())
    assert (await ask(running, "converse")).status == 200
    assert await view.spent() == 4 * CHARGED_NUSD


async def _costs_nothing(running: Running, view: LedgerView, provider: FixedProvider) -> None:
    """What was never sent, for whatever reason, and the provider's own error."""
    before_nusd, seen = await view.spent(), len(provider.received)
    refused = await ask(running, "gemini", metadata={"a": "b"})
    assert (refused.status, refused.error["code"]) == (400, "not_translated")
    assert refused.headers["x-should-retry"] == "false"
    absent = await ask(running, "absent")
    assert absent.status == 502
    assert "nothing was sent or charged" in absent.error["message"]
    assert len(provider.received) == seen

    async def says_no(_received: Received, reply: Reply) -> None:
        reply.whole(404, b'{"error": {"message": "no such model"}}')

    provider.behaviour = says_no
    unknown = await ask(running, "gemini")
    assert (unknown.status, unknown.error["message"]) == (404, "no such model")
    assert await view.spent() == before_nusd


async def _is_killed(running: Running, view: LedgerView, provider: FixedProvider) -> None:
    """kill -9 with requests in flight, one of them in mid-stream: each is charged whole. Who calls
    while it is away waits, and is served by the next one."""
    before_nusd, seen = await view.spent(), len(provider.received)
    quoted = await post(running.port, KEY, document("gemini"), path="/v1/quote")

    async def hangs(received: Received, reply: Reply) -> None:
        if wires.is_stream(received):
            reply.begin()
            reply.chunk(wires.gemini()(True)[0])
        await received.gone.wait()

    provider.behaviour = hangs
    calls = [asyncio.create_task(ask(running, "gemini")) for _ in range(IN_FLIGHT - 1)]
    async with Wire(running.port) as wire:
        streamed = json.dumps(document("gemini", stream=True)).encode()
        await wire.send(request_bytes(KEY, streamed))
        await wire.until(b"Hello")
        await provider.arrivals(seen + IN_FLIGHT)
        workers = running.workers()
        (old,) = running.parts("comptroller.translate")
        os.kill(old, signal.SIGKILL)
        rest = await wire.until_closed()
    assert b"broke off" in rest
    assert {each.status for each in await asyncio.gather(*calls)} == {502}
    provider.behaviour = wires.speaks(wires.gemini())

    async def is_back() -> bool:
        return bool(running.parts("comptroller.translate") - {old})

    async with asyncio.timeout(BACK_S_MAX):
        answer = await _waited(running)
        await until(is_back)
    assert answer.status == 200, answer.body
    assert running.workers() == workers
    lost_nusd = IN_FLIGHT * quoted.json["reserved_nusd"]
    assert await view.spent() == before_nusd + lost_nusd + CHARGED_NUSD


async def _waited(running: Running) -> Answer:
    """A call that is answered when the translator is."""
    async with Wire(running.port) as wire:
        await wire.send(request_bytes(KEY, json.dumps(document("gemini")).encode()))
        head = await wire._reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        body = await wire._reader.readexactly(length)
        return Answer(int(head.split()[1]), {}, body)


def _keeps_its_secrets(running: Running) -> None:
    """In no file of the data dir; its socket is its owner's."""
    assert files_with(running.data_dir, SECRET) == []
    socket_file = running.data_dir / "translator.sock"
    assert socket_file.stat().st_mode & 0o077 == 0
    (pid,) = running.parts("comptroller.translate")
    assert SECRET not in str(environment_of(pid))
    assert has_litellm(pid)
    assert not any(has_litellm(each) for each in running.workers())


def has_litellm(pid: int) -> bool:
    """Whether a process has loaded the tokenizers that LiteLLM loads."""
    return "tiktoken" in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


async def test_a_stack_that_needs_none_has_none(folder: Path) -> None:
    """Nor does any of its processes load LiteLLM."""
    async with comptroller_up(folder, workers=1) as running:
        assert running.parts("comptroller.translate") == set()
        assert not any(has_litellm(pid) for pid in running.workers())
