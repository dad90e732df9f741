"""The least rights that docs/deploy.md gives to a Redis user: the ledger runs with them alone, and
each of them is one that the code asks for."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import budgets.keys
from budgets.keys import Key, KeyRing, digest, new_secret
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.policy import parse_policy
from budgets.recording import Recording
from budgets.redispy import RedisPyTransport
from budgets.redisurl import parse_redis_url
from budgets.safety import judge_ledger
from budgets.transport import LedgerRejected, LedgerTransport
from tests.budgets.conftest import PATIENT
from tests.budgets.harness import SystemClock, desk_for, dollars, granted
from tests.budgets.servers import HOST, TestServer, running

ROOT = Path(budgets.keys.__file__).parent.parent
GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
# What the transports and the look at the start ask for themselves, without a key of ours.
OF_TRANSPORTS = {"eval", "evalsha", "waitaof", "ping", "info", "config|get"}
KINDS = ("pipelined", "redis-py")


def rule() -> list[str]:
    """The command of the guide, word by word."""
    found = re.search(r"^```\n(ACL SETUSER .+?)```", GUIDE, re.DOTALL | re.MULTILINE)
    assert found
    return found[1].split()


def allowed() -> set[str]:
    """The commands in it."""
    return {word[1:] for word in rule() if word.startswith("+")}


def asked_for() -> set[str]:
    """Every command that the scripts call, and that is sent beside them."""
    scripts = "".join(each.read_text() for each in (ROOT / "budgets" / "lua").rglob("*.lua"))
    inside = set(re.findall(r"\bcall\('([A-Z]+)'", scripts))
    folders = [ROOT / name for name in ("budgets", "console", "comptroller", "recorder", "gateway")]
    code = "".join(each.read_text() for folder in folders for each in folder.rglob("*.py"))
    outside = set(re.findall(r"command(?:_durably)?\(\s*(?:\*\()?\"([A-Z]+)\"", code))
    assert {"HGET", "XADD"} <= inside
    assert {"GET", "SADD", "HSCAN", "PING"} <= outside
    return {each.lower() for each in inside | outside} - {"role"}


def test_each_right_is_one_that_the_code_asks_for() -> None:
    """No more, no less: a command that a script begins to call has to be allowed here, too."""
    assert allowed() - OF_TRANSPORTS == asked_for() - OF_TRANSPORTS
    assert "-@all" in rule()


@pytest.fixture(scope="module")
def guarded() -> Iterator[TestServer]:
    """A server on which only the guide's user may do anything."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        server = TestServer(Path(folder), "--appendonly", "yes")
        with running(server):
            server.ask(*rule())
            yield server


class Events:
    """What the ring writes into the outbox."""

    def minted(self, key: Key) -> bytes:
        """See KeyEvents."""
        return key.id.encode()

    budget_changed = revoked = minted


@pytest.mark.parametrize("kind", KINDS)
async def test_the_ledger_runs_with_these_rights(
    kind: str, guarded: TestServer, organisation: str
) -> None:
    """Policy, reservations that are held, endings, keys, the recorder's acts, the look at the
    start; nothing else is allowed, and the server has nothing to complain about."""
    url = f"redis://comptroller:password@{HOST}:{guarded.port}"
    transport: LedgerTransport = RedisPyTransport(url, limits=PATIENT)
    if kind == "pipelined":
        address = NodeAddress("", HOST, guarded.port, "comptroller", "password")
        transport = PipelinedTransport(address, PATIENT)
    guarded.ask("ACL", "LOG", "RESET")
    try:
        (judged,) = await judge_ledger(transport, parse_redis_url(url))
        assert judged.verdict == "ok"
        desk = desk_for(organisation, transport)
        await desk.session.open_organisation(organisation, create=True)
        await desk.set_budget(organisation, [{"usd": "0.000000050"}])
        first = granted(await desk.ask(dollars(40)))
        held = await desk.ask(dollars(20))
        assert getattr(held, "code", "") == "HELD"
        await desk.ledger.extend(organisation, [(first.id, first.path)])
        await desk.ledger.release(organisation, first.id, b"")
        assert await desk.ledger.sweep(organisation) == []
        await _keys(organisation, transport)
        await _records(organisation, transport)
        assert guarded.ask("ACL", "LOG") == []
        for words in (("FLUSHALL",), ("KEYS", "*"), ("GET", "others"), ("CONFIG", "SET", "x", "y")):
            with pytest.raises(LedgerRejected, match=r"NOPERM|permissions"):
                await transport.command(*words)
    finally:
        await transport.close()


async def _keys(organisation: str, transport: LedgerTransport) -> None:
    desk = desk_for(organisation, transport)
    ring = KeyRing(desk.session, desk.administration, Events())
    secret = new_secret()
    now_ms = SystemClock().now_ms()
    key = Key("key-1", "k", organisation, now_ms, secret_sha256=digest(secret))
    await ring.mint(key, secret, parse_policy([{"usd": "1"}]))
    assert await ring.find(secret.encode()) is not None
    await ring.revoke(await ring.rotate(key, new_secret(), 0))


async def _records(organisation: str, transport: LedgerTransport) -> None:
    desk = desk_for(organisation, transport)
    recording = Recording(desk.session, "one")
    assert organisation in await recording.organisations()
    await recording.first_in(60)
    assert await recording.own(organisation, 1_000) is not None
    await recording.own(organisation, 0)
