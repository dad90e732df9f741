"""Whether a Redis or Valkey that is not ours can hold money.

One function asks a server what it is, one judges the answers, without asking anything. What makes
a ledger lose or refuse bookings without a word is refused at the start, where somebody is looking.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

from budgets.redisurl import Kind, RedisUrl
from budgets.transport import (
    Argument,
    LedgerRejected,
    LedgerTransport,
    LedgerUnavailable,
)

VERSION_LEAST = (7, 2)
LUA_HOLES = "CVE-2024-31449, CVE-2024-46981, CVE-2025-46817, CVE-2025-46818, CVE-2025-49844"
# The least patch of each line without them. Distributions repair theirs under the old number.
PATCH_LEAST = {
    "Redis": {(7, 2): 11, (7, 4): 6, (8, 0): 4, (8, 2): 2},
    "Valkey": {(7, 2): 11, (8, 0): 6, (8, 1): 4},
}
UNCHECKED = "COMPTROLLER_REDIS_UNCHECKED=true"
_ASKED = ("appendfsync", "cluster-require-full-coverage")
_PROBE = "return {type(cmsgpack), type(struct), #redis.call('TIME')}"
_PROBED = [b"table", b"table", 2]

Verdict = Literal["ok", "warn", "refuse"]


class UnsafeLedger(LedgerUnavailable):
    """The server that is to be the ledger must not be it as it stands."""


class Answers(Protocol):
    """One server."""

    async def command(self, *args: Argument) -> object:
        """See LedgerTransport."""
        ...


@dataclass(frozen=True, slots=True)
class Facts:
    """What a server says of itself. `info` is INFO by field; where it may not be asked, `info` is
    empty and `hidden` says why. `disk` and `scripts` are what is wrong with its append-only file
    and with scripts, empty for nothing; `config` is what of CONFIG GET it tells."""

    server: str
    info: dict[str, str] = field(default_factory=dict)
    hidden: str = ""
    disk: str = ""
    scripts: str = ""
    config: dict[str, str] = field(default_factory=dict)

    @property
    def product(self) -> str:
        """Valkey calls itself Redis 7.2.4, too."""
        return "Valkey" if "valkey_version" in self.info else "Redis"

    @property
    def version(self) -> tuple[int, ...]:
        """Major, minor, patch; empty where it is not told."""
        text = self.info.get("valkey_version") or self.info.get("redis_version", "")
        told = [int(each) for each in text.split(".")[:3] if each.isdecimal()]
        return (*told, 0, 0)[:3] if told else ()

    @property
    def is_clustered(self) -> bool:
        """Whether it is one of a cluster."""
        mode = self.info.get("server_mode") or self.info.get("redis_mode")
        return mode == "cluster" or self.info.get("cluster_enabled") == "1"


@dataclass(frozen=True, slots=True)
class Judgement:
    """One thing about one server; `do` is what puts it right, empty where nothing is wrong."""

    server: str
    verdict: Verdict
    message: str
    do: str = ""


async def ask_facts(server: Answers, name: str) -> Facts:
    """Asks one server. Raises LedgerUnavailable where it does not answer or does not let us in."""
    await server.command("PING")
    info, hidden = await _told(server, "INFO")
    synced, disk = await _told(server, "WAITAOF", "1", "0", "1")
    probed, scripts = await _told(server, "EVAL", _PROBE, "0")
    if not scripts and probed != _PROBED:
        scripts = "its Lua has no cmsgpack and struct"
    if not disk and not isinstance(synced, list):
        disk = "it does not know WAITAOF"
    config: dict[str, str] = {}
    for option in _ASKED:
        pair, _ = await _told(server, "CONFIG", "GET", option)
        if isinstance(pair, list) and len(pair) == 2:
            config[option] = pair[1].decode()
    return Facts(name, _fields(info), hidden, disk, scripts, config)


async def _told(server: Answers, *words: str) -> tuple[object, str]:
    """An answer, or the error that the server gives instead."""
    try:
        return await server.command(*words), ""
    except LedgerRejected as error:
        return None, str(error)


def _fields(info: object) -> dict[str, str]:
    if not isinstance(info, bytes):
        return {}
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value.strip() for name, colon, value in lines if colon}


def judge(facts: Facts, kind: Kind, *, unchecked: bool = False) -> list[Judgement]:
    """What is wrong with a server as a ledger, and what will hurt; if nothing, one `ok`. `kind` is
    how the URL calls it; with `unchecked` the operator vouches for what it does not tell."""
    found = [*_hidden(facts, unchecked=unchecked), *_version(facts), *_scripts(facts)]
    found += [*_disk(facts), *_memory(facts), *_role(facts, kind)]
    judged = [Judgement(facts.server, *each) for each in found]
    return judged or [Judgement(facts.server, "ok", _summary(facts))]


Found = list[tuple[Verdict, str, str]]


def _summary(facts: Facts) -> str:
    if not facts.info:
        return "answers, and is vouched for"
    fsync = facts.config.get("appendfsync", "")
    version = ".".join(map(str, facts.version))
    return f"{facts.product} {version}, noeviction, append-only file {fsync}".strip()


def _hidden(facts: Facts, *, unchecked: bool) -> Found:
    if facts.info or unchecked:
        return []
    message = f"it does not say what it is, so nobody knows what it evicts: {facts.hidden}"
    return [("refuse", message, f"ACL SETUSER <user> +info, or vouch for it: export {UNCHECKED}")]


def _version(facts: Facts) -> Found:
    version, product = facts.version, facts.product
    if not version:
        return []
    named = f"{product} {'.'.join(map(str, version))}"
    if version < VERSION_LEAST:
        message = f"{named} cannot say what is on its disk, and its Lua has holes: {LUA_HOLES}"
        return [("refuse", message, "install Redis or Valkey 7.2.11 or later")]
    line, patch = (version[0], version[1]), version[2]
    least = PATCH_LEAST[product].get(line, 0)
    if patch >= least:
        return []
    message = f"{named} has Lua holes unless its packager has closed them: {LUA_HOLES}"
    return [("warn", message, f"install {product} {line[0]}.{line[1]}.{least} or later")]


def _scripts(facts: Facts) -> Found:
    if not facts.scripts:
        return []
    message = f"it runs no scripts for us: {facts.scripts}"
    return [("refuse", message, "ACL SETUSER <user> +eval +evalsha +time (docs/deploy.md)")]


def _disk(facts: Facts) -> Found:
    if facts.info.get("aof_enabled") == "0" or "appendonly" in facts.disk:
        message = "it has no append-only file: what it restarts with is not what it booked"
        return [("refuse", message, "CONFIG SET appendonly yes")]
    if facts.disk:
        message = f"it does not say when a change is on its disk: {facts.disk}"
        return [("refuse", message, "ACL SETUSER <user> +waitaof (docs/deploy.md)")]
    if facts.config.get("appendfsync") == "no":
        message = "appendfsync no: no change of a budget or key is ever confirmed"
        return [("refuse", message, "CONFIG SET appendfsync everysec")]
    if facts.info.get("aof_last_write_status", "ok") != "ok":
        return [("refuse", "it cannot write its append-only file", "df -h, and see its log")]
    return []


def _memory(facts: Facts) -> Found:
    policy = facts.info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return []
    message = f"maxmemory-policy {policy}: it forgets budgets when its memory is full"
    return [("refuse", message, "CONFIG SET maxmemory-policy noeviction")]


def _role(facts: Facts, kind: Kind) -> Found:
    if facts.info.get("role", "master") != "master":
        primary = f"{facts.info.get('master_host')}:{facts.info.get('master_port')}"
        return [
            ("refuse", "it is a replica", f"export COMPTROLLER_REDIS_URL=redis://{primary}"),
        ]
    if facts.info and facts.is_clustered != (kind == "cluster"):
        is_what = "one of a cluster" if facts.is_clustered else "no cluster"
        scheme = "redis+cluster" if facts.is_clustered else "redis"
        return [("refuse", f"it is {is_what}", f"export COMPTROLLER_REDIS_URL={scheme}://...")]
    found: Found = []
    if kind == "sentinel" and facts.info and "min_slaves_good_slaves" not in facts.info:
        message = "cut off from its sentinels it would go on granting what is lost afterwards"
        found.append(("warn", message, "CONFIG SET min-replicas-to-write 1"))
    if kind == "cluster" and facts.config.get("cluster-require-full-coverage") == "yes":
        message = "while one primary is away, no organisation is served"
        found.append(("warn", message, "CONFIG SET cluster-require-full-coverage no"))
    return found


async def judge_ledger(
    transport: LedgerTransport, url: RedisUrl, *, unchecked: bool = False
) -> list[Judgement]:
    """Every server of a ledger that data is written to. Raises LedgerUnavailable where one does
    not answer or does not let us in."""
    from budgets.redispy import RedisPyTransport  # noqa: PLC0415  # redis-py: few need it

    servers: list[tuple[Answers, str]]
    if isinstance(transport, RedisPyTransport):
        servers = [(each, each.name) for each in await transport.servers()]
    else:
        servers = [(transport, url.unix_path or "{}:{}".format(*url.servers[0]))]
    judged: list[Judgement] = []
    for server, name in servers:
        facts = await ask_facts(server, name)
        judged += judge(facts, url.kind, unchecked=unchecked)
    return judged


def refuse_unsafe(judged: list[Judgement]) -> None:
    """Raises UnsafeLedger, which names all that must be put right and how."""
    refused = [each for each in judged if each.verdict == "refuse"]
    if refused:
        told = "; ".join(f"{each.message} -> {each.do}" for each in refused)
        raise UnsafeLedger(f"the Redis at {refused[0].server} is no safe ledger: {told}")
