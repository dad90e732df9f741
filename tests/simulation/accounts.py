"""An account of one organisation: what its events say, read without the product's own code."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from budgets.calibration import NOT_CALIBRATED
from budgets.learned import route_scope
from budgets.policy import Policy, Window, ancestors
from budgets.windows import window_bounds

_NO_POLICY = Policy()


class Told(msgspec.Struct):
    """What the writer of an event says, as far as money goes."""

    request_id: str = ""
    scope: str = ""
    model_requested: str = ""
    usage_source: str = ""
    reserved_nusd: int = 0
    charged_nusd: int = 0
    overrun: bool = False
    error: str = ""
    response_bytes: int = 0
    detail: str = ""


_decode_told = msgspec.json.Decoder(Told).decode
_Facts = tuple[str, int, str, msgspec.Raw, int, int]
_decode_facts = msgspec.msgpack.Decoder(_Facts).decode


@dataclass(frozen=True, slots=True)
class Line:
    """One event of the outbox."""

    epoch: int
    seq: int
    kind: str
    time_ms: int
    id: str
    counters: tuple[Any, ...]
    output: int
    usd_nusd: int
    told: Told


@dataclass(slots=True)
class Held:
    """A reservation from its grant on. `charged_nusd` is what was booked in the end."""

    id: str
    seq: int
    scope: str
    model: str
    output: int
    reserved_nusd: int
    amounts: dict[str, tuple[int, int]]
    state: str = "open"
    charged_nusd: int = 0
    usage_source: str = ""
    bytes_read: int = 0


@dataclass(slots=True)
class Account:
    """One organisation."""

    name: str
    seq: int = 0
    epoch: int = 1
    time_ms: int = 0
    head: Any = None
    sums: dict[str, tuple[int, int]] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    open: dict[str, Held] = field(default_factory=dict)
    expiry: dict[str, int] = field(default_factory=dict)
    compacted: set[str] = field(default_factory=set)
    kinds: dict[tuple[int, int], tuple[str, str]] = field(default_factory=dict)
    bodies: set[tuple[int, int]] = field(default_factory=set)
    once: set[tuple[str, str]] = field(default_factory=set)
    policies: dict[str, Policy] = field(default_factory=dict)
    amounts: dict[str, int] = field(default_factory=dict)
    windows: dict[str, Window] = field(default_factory=dict)
    was_held: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    granted: set[str] = field(default_factory=set)
    confirmed: int = 0
    rolled_back: bool = False
    is_shaken: bool = False  # from an accident until it is open again
    may_lose: bool = False
    recoveries: int = 0
    gone: set[str] = field(default_factory=set)
    too_old: set[str] = field(default_factory=set)
    lost: dict[str, Held] = field(default_factory=dict)
    seq_max: int = 0
    recorder: str = ""


def bindings(policies: dict[str, Policy], scope: str, model: str, at_ms: int) -> set[str]:
    """The counters that a key's request counts in; a route is named as its model here."""
    found = set()
    route = route_scope(scope.split("/", 1)[0], model)
    for node in (*ancestors(scope), route):
        limits, child = policies.get(node, _NO_POLICY).limits, ""
        if not limits and node not in (scope, route):
            parent = node.rpartition("/")[0]
            limits, child = policies.get(parent, _NO_POLICY).per_child, f"{node}:"
        for limit in limits:
            if limit.covers(model):
                start_s = window_bounds(limit.window, at_ms)[0]
                found.add(f"c:{limit.id}:{child}{start_s}")
    return found


def learned(
    before: dict[str, Policy], after: dict[str, Policy], must: Callable[..., None]
) -> Counter[str]:
    """What became known of routes by a change of policies: nothing is ever unlearned."""
    tally: Counter[str] = Counter()
    for scope, policy in before.items():
        changed = after.get(scope, policy)
        if policy.learned is None or changed == policy:
            continue
        was, now = policy.learned, changed.learned
        must(now is not None and now.or_more(was) == now, "%s forgets %s: %s", scope, was, now)
        tally["rare:factor raised"] += now != was
        tally.update(_calibrated(scope, policy, changed, must))
        tally["rare:probation ended"] += bool(policy.limits) and not changed.limits
    return tally


def is_calibrated(account: "Account", route: str) -> bool:
    """Whether a bound of this route was ever learned: that may be wrong, by design, and requests
    that were reserved by it may still be under way when it was given up."""
    policy = account.policies.get(route_scope(account.name, route))
    return policy is not None and policy.calibration is not None


def _calibrated(
    scope: str, before: Policy, after: Policy, must: Callable[..., None]
) -> Counter[str]:
    """A learned bound is above all that was seen, and what was seen is never forgotten."""
    was, now = before.calibration or NOT_CALIBRATED, after.calibration or NOT_CALIBRATED
    bound, seen = now.bound_thousandths, now.seen_thousandths
    must(seen >= was.seen_thousandths, "%s forgets what it saw: %s, %s", scope, was, now)
    must(not bound or bound >= seen, "%s is bounded below what it saw: %s", scope, now)
    gained = bound and not was.bound_thousandths
    lost = was.bound_thousandths and not bound
    return Counter({"rare:bound learned": bool(gained), "rare:bound given up": bool(lost)})


def line_of(entry_id: bytes, fields: list[bytes]) -> Line:
    epoch, seq = map(int, entry_id.split(b"-"))
    _, event, _, facts, *_ = fields
    kind, time_ms, id_, packed, output, usd = _decode_facts(b"\x96" + facts)
    text = _text_bytes(bytes(packed))
    flat = tuple(msgspec.msgpack.decode(text)) if text else ()
    told = _decode_told(event) if event.startswith(b"{") else Told()
    return Line(epoch, seq, kind, time_ms, id_, flat, output, usd, told)


def _text_bytes(packed: bytes) -> bytes:
    if packed[0] & 0xE0 == 0xA0:
        return packed[1:]
    return packed[1 + {0xD9: 1, 0xDA: 2, 0xDB: 4}[packed[0]] :]
