"""The simulation's own books, and section 8's invariants, held against them after each script.

Nothing of the product is trusted here but the form of what lies in Redis: counters, leases and
outbox are read directly, and what the events say is added up beside them.
"""

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

from budgets.policy import ancestors, decode_policy
from tests.budgets.harness import counters_of, head_of
from tests.simulation.accounts import Account, Held, Line, bindings, line_of
from tests.simulation.clockwork import SimulationFailed

CONCURRENCY, USD = 4, 1
_PAIR = struct.Struct("<2q")
_RESERVE = struct.Struct("<14q")
CUTS = ("FROZEN", "CLOSED", "GONE", "EXPIRED", "FENCED", "BEYOND_GRANT", "client gone")


class Books:
    """Of every organisation. `is_kept(organisation, seq, spooler)` says whether an event that the
    ledger is told to forget is in the records, or on that recorder's disk."""

    def __init__(self, tally: Counter[str], ask: Callable[..., list[Any]]) -> None:
        self.accounts: dict[str, Account] = {}
        self.tally = tally
        self.is_kept: Callable[[str, int, str], bool] = lambda *_: True
        self._ask = ask

    def open_account(self, organisation: str) -> Account:
        """From its first event on."""
        account = self.accounts[organisation] = Account(organisation)
        return account

    def fail(self, text: str) -> NoReturn:
        """An invariant is broken."""
        raise SimulationFailed(text)

    def must(self, holds: bool, text: str, *values: Any) -> None:
        """An invariant."""
        if not holds:
            self.fail(text % values)

    def questions(self, organisation: str) -> list[tuple[Any, ...]]:
        """What is asked of the server behind each script."""
        account = self.accounts[organisation]
        after = f"{account.epoch}-{account.seq + 1}"
        key = f"{{{organisation}}}:"
        return [
            ("HGETALL", key + "ledger"),
            ("HKEYS", key + "leases"),
            ("ZRANGE", key + "expiry", 0, -1, "WITHSCORES"),
            ("XRANGE", key + "outbox", after, "+"),
            ("XRANGE", key + "bodies", after, "+"),
        ]

    def refresh(self, account: Account) -> None:
        """The head, after it was changed behind everybody's back."""
        (meta,) = self._ask(("HGET", f"{{{account.name}}}:ledger", "meta"))
        account.head = head_of({b"meta": meta})

    # What was answered.

    def answered(self, organisation: str, script: str, args: list[bytes], reply: list[Any]) -> None:
        """Counts rare answers, and holds one against what the caller knows."""
        account, code = self.accounts[organisation], _word(reply)
        self.tally[f"answer:{script} {code}"] += 1
        if script == "open":
            return
        if script == "reserve" and code == "GRANTED":
            account.granted.add(args[1].decode())
        epoch, seq = _PAIR.unpack_from(args[0])
        if account.rolled_back and account.head is not None:
            behind = epoch != account.head.epoch or seq > account.head.seq
            self.must(
                not behind or code == "RECOVERING",
                "%s by one who knows seq %d was answered %s by a ledger at %d",
                *(script, seq, code, account.head.seq),
            )
            return
        if script == "reserve":
            self._reserved(account, args, reply, code)
        elif script == "release" and code == "RELEASED":
            account.released.add(args[1].decode())
        elif script == "own" and code == "MINE":
            self._owned(account, args)

    def _reserved(self, account: Account, args: list[bytes], reply: list[Any], code: str) -> None:
        id_ = args[1].decode()
        if code == "HELD":
            account.was_held.add(id_)
        elif code == "GRANTED":
            self.must(id_ not in account.released, "released %s was granted after all", id_)
            wanted = _RESERVE.unpack(args[0])[8]
            self.tally["rare:held, then granted"] += id_ in account.was_held
            self.tally["rare:clamped"] += int(reply[1]) < wanted
            self.tally["rare:granted again under its id"] += id_ in account.held
            account.was_held.discard(id_)
        elif code == "ALREADY":
            self.tally["rare:reserve met its release"] += id_ in account.released

    def _owned(self, account: Account, args: list[bytes]) -> None:
        token = args[1].decode()
        if account.recorder not in ("", token):
            self.tally["rare:takeover of an organisation"] += 1
        account.recorder = token

    # What is there.

    def look(
        self,
        organisation: str,
        script: str,
        args: list[bytes],
        reply: list[Any],
        found: list[Any],
    ) -> None:
        """Invariants 1 to 3, after a script."""
        flat, leases, expiry, outbox, bodies = found
        account = self.accounts[organisation]
        ledger = dict(zip(flat[::2], flat[1::2], strict=True))
        if b"meta" not in ledger:
            return
        account.head = head_of(ledger)
        if account.rolled_back:
            return
        if script == "set" and _word(reply) == "SET":
            self._read_policies(account)
        counters = counters_of(ledger)
        for entry_id, fields in outbox:
            self._follow(account, line_of(entry_id, fields), script, ledger, counters)
        account.bodies.update(int(entry_id.split(b"-")[1]) for entry_id, _ in bodies)
        self.must(account.head.seq == account.seq, "head %s, outbox %d", account.head, account.seq)
        self._compare_counters(account, counters, script)
        self._compare_leases(account, leases, expiry)
        if script == "confirm" and _word(reply) == "DONE":
            self._confirmed(account, args)

    def _read_policies(self, account: Account) -> None:
        (flat,) = self._ask(("HGETALL", f"{{{account.name}}}:policies"))
        account.policies = {
            scope.decode(): decode_policy(packed)
            for scope, packed in zip(flat[::2], flat[1::2], strict=True)
        }
        for policy in account.policies.values():
            for limit in (*policy.limits, *policy.per_child):
                account.amounts[limit.id] = limit.amount

    def _follow(
        self, account: Account, line: Line, script: str, ledger: Any, counters: Any
    ) -> None:
        self.must(
            (line.epoch, line.seq) == (account.epoch, account.seq + 1),
            "event %d-%d after %d-%d",
            *(line.epoch, line.seq, account.epoch, account.seq),
        )
        self.must(line.time_ms >= account.time_ms, "time runs backwards at %d", line.seq)
        once = (line.kind, line.id)
        self.must(once not in account.once, "%s of %s is there twice", *once)
        account.once.add(once)
        account.seq, account.time_ms = line.seq, line.time_ms
        account.kinds[line.seq] = once
        if line.kind == "llm_request":
            self._grant(account, line, ledger, counters)
        elif line.kind in ("llm_response", "reservation_expired", "correction"):
            self._ending(account, line, script)
        else:
            self.must(not line.counters, "%s touches counters", line.kind)

    def _grant(self, account: Account, line: Line, ledger: Any, counters: Any) -> None:
        scope = line.told.scope
        amounts = {name: (dim, amount) for name, dim, amount in _grouped(line.counters, 3)}
        self.must(line.id not in account.held, "%s was granted twice", line.id)
        for node in ancestors(scope):
            record = ledger.get(f"s:{node}".encode())
            self.must(record is not None and record[0] == 0, "granted below %s: %s", node, record)
        wanted = bindings(account.policies, scope, line.told.model_requested, line.time_ms)
        self.must(set(amounts) == wanted, "%s touches %s, not %s", line.id, amounts, wanted)
        for name in amounts:
            limit = account.amounts[name.split(":", 2)[1]]
            self.must(
                sum(counters[name]) <= limit,
                "the grant of %s raises %s to %s of %d",
                *(line.id, name, counters[name], limit),
            )
            self._add(account, name, 0, amounts[name][1])
        held = Held(
            line.id,
            line.seq,
            scope,
            line.told.model_requested,
            line.output,
            line.usd_nusd,
            amounts,
        )
        account.held[line.id] = account.open[line.id] = held

    def _ending(self, account: Account, line: Line, script: str) -> None:
        held = account.held.get(line.id)
        if held is None:
            self.fail(f"{line.kind} of {line.id}, which was never granted")
        late = line.kind == "correction"
        self.must(
            held.state == ("expired" if late else "open"),
            "%s of %s, which is %s",
            *(line.kind, line.id, held.state),
        )
        charged_nusd = {"release": 0, "sweep": held.reserved_nusd}.get(
            script, line.told.charged_nusd
        )
        amounts = dict(held.amounts)
        for name, dim, back, charged in _grouped(line.counters, 4):
            amount = amounts.pop(name, (0, -1))[1]
            full = 0 if dim == CONCURRENCY else amount
            self.must(back == (0 if late else amount), "%s gives back %d of %s", line, back, name)
            if script in ("release", "sweep"):
                expected = (full if script == "sweep" else 0) - (full if late else 0)
                self.must(charged == expected, "%s charges %d to %s", line, charged, name)
            elif dim == USD and name not in account.compacted:
                expected = charged_nusd - (held.charged_nusd if late else 0)
                self.must(charged == expected, "%s charges %d to %s", line, charged, name)
            self._add(account, name, charged, -back)
        self.must(not amounts, "%s leaves %s out", line, amounts)
        if line.kind == "reservation_expired":
            due_ms = account.expiry[line.id]
            self.must(line.time_ms >= due_ms, "%s swept before %d", line, due_ms)
        over = charged_nusd > held.reserved_nusd
        self.must(not over or line.told.overrun, "%s is an overrun without its label", line)
        held.state = "expired" if line.kind == "reservation_expired" else "ended"
        held.charged_nusd = charged_nusd
        held.usage_source = line.told.usage_source if script == "settle" else script
        held.bytes_read = line.told.response_bytes
        account.open.pop(line.id, None)
        self._count(line, late=late, over=over)

    def _count(self, line: Line, *, late: bool, over: bool) -> None:
        self.tally["rare:overrun"] += over
        self.tally["rare:late truth"] += late
        self.tally["rare:expired"] += line.kind == "reservation_expired"
        if line.told.error in CUTS:
            self.tally[f"rare:cut, {line.told.error}"] += 1
        if line.told.usage_source:
            self.tally[f"rare:booked as {line.told.usage_source}"] += 1

    def _add(self, account: Account, name: str, spent: int, reserved: int) -> None:
        before = account.sums.get(name, (0, 0))
        account.sums[name] = (before[0] + spent, before[1] + reserved)

    def _compare_counters(self, account: Account, counters: Any, script: str) -> None:
        held: dict[str, int] = {}
        for each in account.open.values():
            for name, (_, amount) in each.amounts.items():
                held[name] = held.get(name, 0) + amount
        for name, (spent, reserved, allotted) in counters.items():
            self.must(min(spent, reserved) >= 0 == allotted, "%s is %d, %d", name, spent, reserved)
            booked = account.sums.get(name, (0, 0))
            self.must(
                booked == (spent, reserved),
                "%s is %s, and its events come to %s",
                *(name, (spent, reserved), booked),
            )
            self.must(reserved == held.get(name, 0), "%s reserves %d", name, reserved)
            self.must(name not in account.compacted, "%s is back", name)
        for name, (spent, reserved) in account.sums.items():
            if name not in counters and (spent or reserved) and name not in account.compacted:
                self.must(script == "compact" and not reserved, "%s is gone", name)
                account.compacted.add(name)
                self.tally["rare:compacted"] += 1

    def _compare_leases(self, account: Account, leases: Any, expiry: Any) -> None:
        account.expiry.update(
            (id_.decode(), int(at_ms)) for id_, at_ms in zip(expiry[::2], expiry[1::2], strict=True)
        )
        ids = {id_.decode() for id_ in leases}
        timed = {id_.decode() for id_ in expiry[::2]}
        self.must(
            ids == timed == account.open.keys(),
            "leases %s, to expire %s, open by the events %s",
            *(sorted(ids), sorted(timed), sorted(account.open)),
        )

    def _confirmed(self, account: Account, args: list[bytes]) -> None:
        _, _, of_epoch, through, _ = struct.unpack("<5q", args[0])
        if of_epoch != account.epoch:
            return
        spooler = args[1].decode()
        self.tally["rare:confirmed from a spool"] += bool(spooler)
        (first,) = self._ask(
            ("XRANGE", f"{{{account.name}}}:outbox", "-", "+", "COUNT", 1),
        )
        kept_from = int(first[0][0].split(b"-")[1]) if first else account.seq + 1
        for seq in range(account.confirmed + 1, max(through + 1, kept_from)):
            self.must(
                self.is_kept(account.name, seq, spooler),
                "the ledger forgot event %d, which nobody has",
                seq,
            )
        account.confirmed = max(account.confirmed, through)


def _word(reply: list[Any]) -> str:
    return str(reply[0].decode())


def _grouped(flat: tuple[Any, ...], width: int) -> list[tuple[Any, ...]]:
    return [flat[at : at + width] for at in range(0, len(flat), width)]
