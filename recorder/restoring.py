"""What the ledger of an organisation must hold by the records, as writes: pure.

The records decide. Where they have never heard of a thing that the ledger still has (it is older
than they are), it stays, and they are told of it; where a counter says more than they do, the
difference is booked as a correction: what was spent is never forgotten.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import msgspec

from budgets.allotments import Allotment, decode_allotment
from budgets.counters import window_ends
from budgets.keys import Key
from budgets.policy import DIMENSIONS, Policy, decode_policy
from budgets.recovering import (
    ALLOTMENTS,
    ALLOTMENTS_EXPIRY,
    EXPIRY,
    KEYS,
    LEASES,
    LEDGER,
    POLICIES,
    TOMBSTONES,
    Present,
    Write,
)
from recorder.openrequests import OpenRequest
from recorder.snapshots import ALLOTMENT, Ended, Standing

CLOSED = 3  # as in chunks/scopes.lua; one that is closing opens again
TOMBSTONES_MS = 7_200_000
"""As long as DONE_TTL_S of chunks/resolve.lua."""
EVERYTHING = ""
_COUNTER = struct.Struct("<3q")
_SCOPE = struct.Struct("<BqqB")
_encode = msgspec.msgpack.Encoder().encode


@dataclass(frozen=True, slots=True)
class Restoration:
    """`writes`, in order; `booked` (counter, dimension, 0, delta...) is what the ledger had beyond
    the records, `unknown` (kind, name, text...) what only it knew; `keys` are all key
    records, each with whether it still works."""

    writes: list[Write]
    booked: list[str | int]
    unknown: list[str]
    keys: list[tuple[bytes, bool]]


def restoration(
    standing: Standing, ended: list[Ended], present: Present, now_ms: int
) -> Restoration:
    """Everything that makes the ledger say what the records say."""
    states = standing.states
    allotments = _allotments(states.get(ALLOTMENT, {}))
    policies = _policies(states.get("policy", {}), present.policies)
    counters, booked = _counters(standing, present, policies, allotments, now_ms)
    writes = [
        *_fields(counters, present),
        *_scopes(states.get("scope", {})),
        *_texts(POLICIES, states.get("policy", {})),
        *_texts(KEYS, states.get("key", {})),
        *_moved(states.get(ALLOTMENT, {}), allotments, present),
        *_leases(standing.open, present.leases),
        *_tombstones(ended, now_ms),
    ]
    return Restoration(
        writes=writes,
        booked=booked,
        unknown=_unknown(states, present),
        keys=_keys(states, present),
    )


def _policies(known: dict[str, str], present: dict[str, bytes]) -> list[Policy]:
    texts = {**present, **{scope: text.encode() for scope, text in known.items()}}
    return [decode_policy(text) for text in texts.values()]


def _counters(
    standing: Standing,
    present: Present,
    policies: list[Policy],
    allotments: dict[str, Allotment],
    now_ms: int,
) -> tuple[dict[str, tuple[int, int, int]], list[str | int]]:
    """(spent, reserved, allotted) by field, and what is to be booked. A counter whose window is
    over and in which nothing is reserved has left the ledger for good, and so have those of an
    allotment that is."""
    reserved: dict[str, int] = {}
    for request in standing.open:
        for name, _, held, _ in request.counters:
            reserved[name] = reserved.get(name, 0) + held
    dimensions = _dimensions(policies)
    beyond: dict[str, int] = {}
    for name, raw in present.ledger.items():
        known_spent = standing.spent.get(name, (0, 0))[1]
        if name.startswith("c:") and _COUNTER.unpack(raw)[0] > known_spent:
            beyond[name] = _COUNTER.unpack(raw)[0] - known_spent
    spent = {name: amount for name, (_, amount) in standing.spent.items()}
    spent |= {name: spent.get(name, 0) + more for name, more in beyond.items()}
    allotted = _allotted(allotments, spent)
    names = {*spent, *reserved, *allotted}
    ends = window_ends(names, policies)
    counters = {
        name: (
            spent.get(name, 0),
            reserved.get(name, 0),
            allotted.get(name, 0),
        )
        for name in names
        if name in reserved
        or name in allotted
        or ((not ends[name] or ends[name] * 1000 > now_ms) and _is_live(name, allotments))
    }
    booked: list[str | int] = []
    for name, delta in beyond.items():
        dimension = standing.spent.get(name, (dimensions.get(name.split(":")[1], 0), 0))[0]
        booked += (name, dimension, 0, delta)
    return counters, booked


def _allotments(texts: dict[str, str]) -> dict[str, Allotment]:
    found = (decode_allotment(text.encode()) for text in texts.values())
    return {each.id: each for each in found if each is not None}


def _is_live(name: str, allotments: dict[str, Allotment]) -> bool:
    """False for an allotment's own counter once nothing can come about it any more."""
    id_, _, number = name.split(":")[1].partition(".")
    return not (id_.startswith("a") and number) or id_ in allotments


def _allotted(allotments: dict[str, Allotment], spent: dict[str, int]) -> dict[str, int]:
    """What is set aside in each counter: max(amount, spent) of each that is not closed."""
    found: dict[str, int] = {}
    for each in allotments.values():
        if each.state == "closed":
            continue
        for dimension, amount in each.amounts.items():
            own = f"c:{each.id}.{DIMENSIONS.index(dimension) + 1}:0"
            costs = max(amount, spent.get(own, 0))
            for name in (each.raised or {}).get(dimension, ()):
                found[name] = found.get(name, 0) + costs
            found.setdefault(own, 0)
    return found


def _moved(
    texts: dict[str, str], allotments: dict[str, Allotment], present: Present
) -> Iterator[Write]:
    """The fields of allotments, and the sets by which the sweeper finds them."""
    fields: dict[str, bytes] = {}
    for id_, each in allotments.items():
        number = id_.removeprefix("a")
        fields[f"a:{number}"] = texts[id_].encode()
        if each.state != "closed":
            fields[f"o:{each.scope}"] = number.encode()
    # None is written twice: pieces may be written in any order.
    gone = [name for name in present.ledger if name[:2] in ("a:", "o:") and name not in fields]
    for name, text in (*fields.items(), *((each, b"") for each in gone)):
        yield Write(LEDGER, name, text)
    yield Write(ALLOTMENTS, EVERYTHING, b"")
    yield Write(ALLOTMENTS_EXPIRY, EVERYTHING, b"")
    for id_, each in allotments.items():
        number = id_.removeprefix("a")
        if each.state != "closed":
            yield Write(ALLOTMENTS, f"{each.scope} {number}", b"0")
            due_ms = each.expires_at_ms if each.state == "open" else 0
            yield Write(ALLOTMENTS_EXPIRY, number, str(due_ms).encode())


def _dimensions(policies: Iterable[Policy]) -> dict[str, int]:
    """Number of its dimension by a limit's id."""
    return {
        limit.id: DIMENSIONS.index(limit.dimension) + 1
        for each in policies
        for limit in (*each.limits, *each.per_child)
    }


def _fields(counters: dict[str, tuple[int, int, int]], present: Present) -> Iterator[Write]:
    for name in present.ledger:
        if name.startswith("c:") and name not in counters:
            yield Write(LEDGER, name, b"")
    for name, amounts in counters.items():
        yield Write(LEDGER, name, _COUNTER.pack(*amounts))


def _scopes(texts: dict[str, str]) -> Iterator[Write]:
    for scope, text in texts.items():
        state, version, fence = map(int, text.split())
        yield Write(LEDGER, f"s:{scope}", _SCOPE.pack(state, version, fence, 0))


def _texts(place: int, texts: dict[str, str]) -> Iterator[Write]:
    for name, text in texts.items():
        yield Write(place, name, text.encode())


def _unknown(states: dict[str, dict[str, str]], present: Present) -> list[str]:
    """What the records have never heard of: older than they keep such things."""
    flat: list[str] = []
    for scope, policy in present.policies.items():
        record = present.ledger.get(f"s:{scope}")
        if scope not in states.get("policy", {}) and record is not None:
            flat += ("policy", scope, policy.decode())
    for field, raw in present.ledger.items():
        scope = field.removeprefix("s:")
        state, version, fence, _ = _SCOPE.unpack(raw) if field.startswith("s:") else (0, 0, 0, 0)
        says_something = state or fence or scope in present.policies
        if field.startswith("s:") and scope not in states.get("scope", {}) and says_something:
            flat += ("scope", scope, f"{state} {version} {fence}")
    for key_id, record in present.keys.items():
        if key_id not in states.get("key", {}):
            flat += ("key", key_id, record.decode())
    return flat


def _keys(states: dict[str, dict[str, str]], present: Present) -> list[tuple[bytes, bool]]:
    """Records, and whether they are not revoked."""
    known = {key_id: text.encode() for key_id, text in states.get("key", {}).items()}
    scopes = states.get("scope", {})
    found = []
    for text in {**present.keys, **known}.values():
        if text:
            scope = msgspec.json.decode(text, type=Key).key_scope
            record = present.ledger.get(f"s:{scope}", b"\0")
            state = int(scopes[scope].split()[0]) if scope in scopes else record[0]
            found.append((text, state < CLOSED))
    return found


def _leases(requests: tuple[OpenRequest, ...], present: frozenset[str]) -> Iterator[Write]:
    """Those that the records have open. One that is there stays as it is: it alone knows the name
    that its client gave the request, and what was asked."""
    yield Write(EXPIRY, EVERYTHING, b"")
    for id_ in sorted(present - {request.id for request in requests}):
        yield Write(LEASES, id_, b"")
    for request in requests:
        if request.id not in present:
            yield Write(LEASES, request.id, _lease(request))
        yield Write(EXPIRY, request.id, b"")


def _lease(request: OpenRequest) -> bytes:
    """As reserve.lua writes it, without the fingerprint of what was asked, which nobody knows."""
    flat = [each for name, number, held, _ in request.counters for each in (name, number, held)]
    facts = b"".join(
        (
            _in_turn(("llm_request", request.time_ms, request.id)),
            _text(_encode(flat)),
            _in_turn((request.output_tokens_max, request.reserved_nusd)),
        )
    )
    return _in_turn(("", request.seq)) + _text(facts) + _text(request.about.encode())


def _tombstones(ended: list[Ended], now_ms: int) -> Iterator[Write]:
    """Of what ended under an id that may still come again; the last word counts."""
    last: dict[str, bytes] = {}
    for each in ended:
        if _is_young(each.id, now_ms):
            last[each.id] = _outcome(each)
    for id_, outcome in last.items():
        yield Write(TOMBSTONES, id_, outcome, id_)


def _outcome(ended: Ended) -> bytes:
    if ended.event_type != "reservation_expired":
        return b"recorded"
    flat = [each for change in ended.counters for each in change]
    return b"expired:" + b"".join(
        (
            _text(_encode(flat)),
            _in_turn(("", ended.output_tokens, ended.reserved_nusd)),
        )
    )


def _is_young(id_: str, now_ms: int) -> bool:
    try:
        return int(id_[:12], 16) > now_ms - TOMBSTONES_MS
    except ValueError:
        return False


def _in_turn(values: tuple[object, ...]) -> bytes:
    """Up to 15 values one after the other, as cmsgpack.pack(...) writes them: an array without the
    byte that says how many there are."""
    return _encode(values)[1:]


def _text(content: bytes) -> bytes:
    """A MessagePack text of any bytes: Lua's cmsgpack has no binary type."""
    length = len(content)
    if length < 32:  # fixstr
        return bytes((0xA0 | length,)) + content
    if length < 1 << 16:
        return b"\xda" + length.to_bytes(2, "big") + content
    return b"\xdb" + length.to_bytes(4, "big") + content
