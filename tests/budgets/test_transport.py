"""Both transports against a real server that is there: every call has its own answer."""

import asyncio

import pytest

from budgets.embedded import EmbeddedServer
from budgets.transport import LedgerRejected, LedgerTransport
from tests.budgets.conftest import PATIENT
from tests.budgets.lua import script
from tests.budgets.transports import ECHO, KINDS, TransportTo

FAIL = script("fail", "return redis.error_reply('ERR no')")


@pytest.fixture(params=KINDS)
async def transport(
    request: pytest.FixtureRequest, valkey: EmbeddedServer, transport_to: TransportTo
) -> LedgerTransport:
    """Each transport in turn, to the shared server."""
    return transport_to(request.param, valkey.socket_path, PATIENT)


async def test_an_answer_is_the_scripts(transport: LedgerTransport, organisation: str) -> None:
    """Bytes in and out, whatever they hold."""
    key = f"{{{organisation}}}:list".encode()
    for value in (b"", b"plain", b"\r\n$5\r\n\x00\xff", b"x" * 300_000):
        assert await transport.call(ECHO, (key,), (value, "text", "ä")) == [value, 3]
    assert await transport.command("LRANGE", key, "1", "1") == [b"plain"]


async def test_plain_commands_answer_what_the_server_says(
    transport: LedgerTransport, organisation: str
) -> None:
    """The same values from both transports, so that a caller need not know which one it has."""
    key = f"{{{organisation}}}:hash"
    assert await transport.command("HSET", key, "a", b"\xff") == 1
    assert await transport.command("HGETALL", key) == [b"a", b"\xff"]
    assert await transport.command("HGET", key, "none") is None
    assert await transport.command("SET", f"{key}:text", "x") == b"OK"
    assert await transport.command("EXISTS", key) == 1


async def test_a_durable_call_is_answered_too(
    transport: LedgerTransport, organisation: str
) -> None:
    """When the disk has it; many at once."""
    key = f"{{{organisation}}}:list".encode()
    answers = await asyncio.gather(
        *(transport.call_durably(ECHO, (key,), (str(n),)) for n in range(10))
    )
    assert answers == [[str(n).encode(), 1] for n in range(10)]


async def test_each_of_many_calls_gets_its_own_answer(
    transport: LedgerTransport, organisation: str
) -> None:
    """Three hundred calls at once: no answer reaches another's caller."""
    key = f"{{{organisation}}}:list".encode()
    answers = await asyncio.gather(
        *(transport.call(ECHO, (key,), (str(n), *["x"] * (n % 7))) for n in range(300))
    )
    assert answers == [[str(n).encode(), 1 + n % 7] for n in range(300)]


async def test_a_server_without_the_script_learns_it(
    transport: LedgerTransport, organisation: str
) -> None:
    """NOSCRIPT after SCRIPT FLUSH (a restart, a failover) is nobody's error, also for many calls
    at once and for durable ones."""
    key = f"{{{organisation}}}:list".encode()
    for call in (transport.call, transport.call_durably):
        await transport.command("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(call(ECHO, (key,), (str(n),)) for n in range(20)))
        assert answers == [[str(n).encode(), 1] for n in range(20)]
    assert await transport.command("LLEN", key) == 40


async def test_an_error_of_the_server_is_a_rejection(
    transport: LedgerTransport, organisation: str
) -> None:
    """Errors are raised for the call that they answer, and only for that."""
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("0",))  # a list, before anything reads it as a hash
    answers = await asyncio.gather(
        transport.call(ECHO, (key,), ("1",)),
        transport.call(FAIL, (key,), ()),
        transport.call_durably(FAIL, (key,), ()),
        transport.command("HGET", key, "field"),
        transport.call(ECHO, (key,), ("2",)),
        return_exceptions=True,
    )
    assert [type(each) for each in answers[1:4]] == [LedgerRejected] * 3
    assert (answers[0], answers[4]) == ([b"1", 1], [b"2", 1])


async def test_a_cancelled_call_does_not_shift_the_answers(
    transport: LedgerTransport, organisation: str
) -> None:
    """A caller that goes away leaves its answer to nobody."""
    key = f"{{{organisation}}}:list".encode()
    calls = [asyncio.ensure_future(transport.call(ECHO, (key,), (str(n),))) for n in range(9)]
    await asyncio.sleep(0)
    for gone in calls[::3]:
        gone.cancel()
    answers = await asyncio.gather(*calls, return_exceptions=True)
    for n, answer in enumerate(answers):
        if n % 3:
            assert answer == [str(n).encode(), 1]
        else:
            assert isinstance(answer, asyncio.CancelledError)
    assert await transport.call(ECHO, (key,), ("after",)) == [b"after", 1]


async def test_calls_go_out_in_order_in_one_write(
    valkey: EmbeddedServer, organisation: str, transport_to: TransportTo
) -> None:
    """The calls of a loop tick reach the server in the order in which they were made."""
    transport = transport_to("pipelined", valkey.socket_path, PATIENT)
    key = f"{{{organisation}}}:list".encode()
    await transport.call(ECHO, (key,), ("0",))
    calls = [transport.call(ECHO, (key,), (str(n),)) for n in range(1, 200)]
    await asyncio.gather(*calls)
    assert await transport.command("LRANGE", key, "0", "-1") == [
        str(n).encode() for n in range(200)
    ]
