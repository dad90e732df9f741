"""What may not be a ledger: judged from what a server says, asked of real ones, with the command
that puts it right."""

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from budgets.embedded import EmbeddedServer
from budgets.pipelined import NodeAddress, PipelinedTransport, TransportLimits
from budgets.redispy import RedisPyTransport
from budgets.redisurl import Kind, parse_redis_url
from budgets.safety import (
    Facts,
    Judgement,
    UnsafeLedger,
    ask_facts,
    judge,
    judge_ledger,
    refuse_unsafe,
)
from budgets.transport import LedgerRejected, LedgerUnavailable
from tests.budgets.servers import HOST, TestServer, running

GOOD = Facts(
    "h:1",
    {
        "valkey_version": "9.1.2",
        "redis_version": "7.2.4",
        "server_mode": "standalone",
        "role": "master",
        "aof_enabled": "1",
        "maxmemory_policy": "noeviction",
    },
    config={"appendfsync": "everysec"},
)


def with_info(**fields: str) -> Facts:
    """A good server but for these."""
    return replace(GOOD, info={**GOOD.info, **fields})


def redis_of(version: str) -> Facts:
    """A good Redis of that version."""
    facts = with_info(redis_version=version, redis_mode="standalone")
    del facts.info["valkey_version"], facts.info["server_mode"]
    return facts


def valkey_of(version: str) -> Facts:
    """A good Valkey of that version, which calls itself Redis 7.2.4, too."""
    return with_info(valkey_version=version)


JUDGED: dict[str, tuple[Facts, Kind, str, str]] = {
    "good": (GOOD, "single", "ok", ""),
    "evicts": (
        with_info(maxmemory_policy="allkeys-lru"),
        "single",
        "refuse",
        "CONFIG SET maxmemory-policy noeviction",
    ),
    "no file": (with_info(aof_enabled="0"), "single", "refuse", "CONFIG SET appendonly yes"),
    "never synced": (
        replace(GOOD, config={"appendfsync": "no"}),
        "single",
        "refuse",
        "CONFIG SET appendfsync everysec",
    ),
    "disk full": (with_info(aof_last_write_status="err"), "single", "refuse", "df -h"),
    "no WAITAOF": (
        replace(GOOD, disk="NOPERM waitaof"),
        "single",
        "refuse",
        "ACL SETUSER <user> +waitaof",
    ),
    "no scripts": (
        replace(GOOD, scripts="NOPERM eval"),
        "single",
        "refuse",
        "ACL SETUSER <user> +eval",
    ),
    "replica": (
        with_info(role="slave", master_host="p", master_port="7"),
        "single",
        "refuse",
        "export COMPTROLLER_REDIS_URL=redis://p:7",
    ),
    "of a cluster": (with_info(server_mode="cluster"), "single", "refuse", "redis+cluster://"),
    "of a Redis cluster": (with_info(cluster_enabled="1"), "single", "refuse", "redis+cluster://"),
    "no cluster": (GOOD, "cluster", "refuse", "COMPTROLLER_REDIS_URL=redis://"),
    "cluster": (with_info(server_mode="cluster"), "cluster", "ok", ""),
    "whole or not": (
        replace(with_info(server_mode="cluster"), config={"cluster-require-full-coverage": "yes"}),
        "cluster",
        "warn",
        "CONFIG SET cluster-require-full-coverage no",
    ),
    "unbounded": (GOOD, "sentinel", "warn", "CONFIG SET min-replicas-to-write 1"),
    "bounded": (with_info(min_slaves_good_slaves="1"), "sentinel", "ok", ""),
    "Redis 6.2": (redis_of("6.2.19"), "single", "refuse", "install Redis or Valkey 7.2.11"),
    "Redis 7.0": (redis_of("7.0.15"), "single", "refuse", "install Redis or Valkey 7.2.11"),
    "Redis 7.2.10": (redis_of("7.2.10"), "single", "warn", "install Redis 7.2.11"),
    "Redis 7.2.11": (redis_of("7.2.11"), "single", "ok", ""),
    "Redis 7.4.5": (redis_of("7.4.5"), "single", "warn", "install Redis 7.4.6"),
    "Redis 8.0.4": (redis_of("8.0.4"), "single", "ok", ""),
    "Redis 8.2.1": (redis_of("8.2.1"), "single", "warn", "install Redis 8.2.2"),
    "Redis 9.0.0": (redis_of("9.0.0"), "single", "ok", ""),
    "Valkey 7.2.10": (valkey_of("7.2.10"), "single", "warn", "install Valkey 7.2.11"),
    "Valkey 8.0.5": (valkey_of("8.0.5"), "single", "warn", "install Valkey 8.0.6"),
    "Valkey 8.1.4": (valkey_of("8.1.4"), "single", "ok", ""),
    "an odd version": (valkey_of("8.x"), "single", "warn", "install Valkey 8.0.6"),
    "hidden": (Facts("h:1", hidden="NOPERM info"), "single", "refuse", "COMPTROLLER_REDIS_UNCHECK"),
}


@pytest.mark.parametrize(("facts", "kind", "verdict", "do"), JUDGED.values(), ids=JUDGED)
def test_a_server_is_judged(facts: Facts, kind: Kind, verdict: str, do: str) -> None:
    """One finding for one fault, with the next command to type; who is good has only that one."""
    (judged,) = judge(facts, kind)
    assert judged.verdict == verdict
    assert do in judged.do
    assert bool(judged.do) == (verdict != "ok")


def test_old_versions_are_told_which_holes_they_have() -> None:
    """By the names that an operator can look up."""
    for facts in (redis_of("6.2.19"), valkey_of("8.0.5")):
        assert "CVE-2025-49844" in judge(facts, "single")[0].message


def test_who_vouches_is_believed_in_what_is_not_told_only() -> None:
    """Hidden facts are taken as good; what can be seen to be wrong is refused all the same."""
    hidden = Facts("h:1", hidden="NOPERM info")
    assert [each.verdict for each in judge(hidden, "single", unchecked=True)] == ["ok"]
    evicts = with_info(maxmemory_policy="volatile-ttl")
    for facts in (evicts, replace(hidden, disk="NOPERM"), replace(hidden, scripts="NOPERM")):
        assert [each.verdict for each in judge(facts, "single", unchecked=True)] == ["refuse"]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """An operator need not start it once for each."""
    facts = replace(with_info(maxmemory_policy="allkeys-lru", aof_enabled="0"), scripts="NOPERM")
    judged = judge(facts, "single")
    assert [each.verdict for each in judged] == ["refuse"] * 3
    with pytest.raises(UnsafeLedger) as raised:
        refuse_unsafe(judged)
    for each in judged:
        assert each.do in str(raised.value)
    refuse_unsafe([Judgement("h:1", "warn", "w", "d"), Judgement("h:1", "ok", "o")])


async def test_the_embedded_server_is_safe(valkey: EmbeddedServer) -> None:
    """By the judgement that others are held to."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(valkey.socket_path)))
    (judged,) = await judge_ledger(transport, parse_redis_url(f"unix://{valkey.socket_path}"))
    await transport.close()
    assert judged.verdict == "ok"
    assert "Valkey 9" in judged.message
    assert "everysec" in judged.message


@pytest.fixture(scope="module")
def bare() -> Iterator[TestServer]:
    """A server with its own defaults, as somebody's cache runs."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        server = TestServer(Path(folder), "--maxmemory-policy", "allkeys-lru")
        with running(server):
            server.ask("ACL", "SETUSER", "blind", "on", ">p", "~*", "+@all", "-info", "-config")
            server.ask("ACL", "SETUSER", "mute", "on", ">p", "~*", "+@all", "-eval", "-waitaof")
            yield server


async def judged_as(server: TestServer, user: str) -> list[Judgement]:
    """By both transports, which must see the same."""
    url = f"redis://{user}{HOST}:{server.port}"
    username, _, password = user.removesuffix("@").partition(":")
    limits = TransportLimits(call_timeout_ms=10_000)
    fast = PipelinedTransport(NodeAddress("", HOST, server.port, username, password), limits)
    other = RedisPyTransport(url, limits=limits)
    try:
        first = await judge_ledger(fast, parse_redis_url(url))
        second = await judge_ledger(other, parse_redis_url(url))
        assert [(each.verdict, each.do) for each in first] == [
            (each.verdict, each.do) for each in second
        ]
        return first
    finally:
        await fast.close()
        await other.close()


async def test_somebodys_cache_is_refused(bare: TestServer) -> None:
    """A real one, that evicts and keeps nothing; put right as told, it is a ledger."""
    judged = await judged_as(bare, "")
    assert {each.do for each in judged} == {
        "CONFIG SET appendonly yes",
        "CONFIG SET maxmemory-policy noeviction",
    }
    for each in judged:
        bare.ask(*each.do.split())
    assert [each.verdict for each in await judged_as(bare, "")] == ["ok"]
    bare.ask("CONFIG", "SET", "appendfsync", "no")
    assert [each.do for each in await judged_as(bare, "")] == ["CONFIG SET appendfsync everysec"]
    bare.ask("CONFIG", "SET", "appendfsync", "everysec")


async def test_what_may_not_be_asked_is_told_apart(bare: TestServer) -> None:
    """INFO forbidden: vouch for it. Scripts and WAITAOF forbidden: it cannot be. A wrong password
    is an error of its own."""
    bare.ask("CONFIG", "SET", "appendonly", "yes")
    (blind,) = await judged_as(bare, "blind:p@")
    assert "COMPTROLLER_REDIS_UNCHECKED=true" in blind.do
    mute = {each.do.split(" (")[0] for each in await judged_as(bare, "mute:p@")}
    assert mute == {"ACL SETUSER <user> +waitaof", "ACL SETUSER <user> +eval +evalsha +time"}
    with pytest.raises(LedgerRejected, match=r"WRONGPASS|invalid username"):
        await judged_as(bare, "blind:wrong@")


async def test_a_replica_is_refused() -> None:
    """With the address of its primary."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        primary = TestServer(Path(folder), "--appendonly", "yes")
        replicaof = ("--replicaof", f"{HOST} {primary.port}")
        replica = TestServer(Path(folder), "--appendonly", "yes", *replicaof)
        with running(primary, replica):
            judged = await judged_as(replica, "")
    assert f"export COMPTROLLER_REDIS_URL=redis://{HOST}:{primary.port}" in [
        each.do for each in judged
    ]


async def test_silence_is_no_judgement() -> None:
    """A server that is not there is away, neither good nor bad."""
    transport = RedisPyTransport("redis://127.0.0.1:1", limits=TransportLimits(call_timeout_ms=100))
    with pytest.raises(LedgerUnavailable, match="cannot be reached"):
        await judge_ledger(transport, parse_redis_url("redis://127.0.0.1:1"))
    with pytest.raises(LedgerUnavailable):
        await ask_facts(transport, "x")
    await transport.close()
