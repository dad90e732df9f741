"""The simulation's own books, and section 8's invariants, held against them after each script.

Nothing of the product is trusted here but the form of what lies in Redis: counters, leases and
outbox are read directly, and what the events say is added up beside them.
"""

import struct
from collections import Counter
from collections.abc import Callable
from typing import Any, NoReturn

from budgets.counters import window_end
from budgets.policy import ancestors, decode_policy
from tests.budgets.harness import counters_of, head_of
from tests.simulation.accounts import Account, Held, Line, bindings, learned, line_of
from tests.simulation.aftermath import Recorded, begin_again, has_passed
from tests.simulation.clockwork import SimulationFailed

CONCURRENCY, USD = 4, 1
_PAIR = struct.Struct("<2q")
_RESERVE = struct.Struct("<15q")
CUTS = ("FROZEN", "CLOSED", "GONE", "EXPIRED", "FENCED", "BEYOND_GRANT", "client gone")


class Books:
    """Of every organisation. `is_kept(organisation, place, spooler)` says whether an event that the
    ledger is told to forget is in the records, or on that recorder's disk."""

    def __init__(self, tally: Counter[str], ask: Callable[..., list[Any]]) -> None:
        self.accounts: dict[str, Account] = {}
        self.tally = tally
        self.is_kept: Callable[[str, tuple[int, int], str], bool] = lambda *_: True
        self.recorded: Callable[[str], Recorded] = lambda _: ([], set())
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

    def shake(self, account: Account, *, may_lose: bool) -> None:
        """The ledger is another one behind everybody's back: until it was recovered, nothing is
        compared, and nobody who knows more is answered."""
        account.is_shaken = True
        account.may_lose = account.may_lose or may_lose
        (meta,) = self._ask(("HGET", f"{{{account.name}}}:ledger", "meta"))
        account.head = head_of({b"meta": meta}) if meta else None

    # What was answered.

    def answered(self, organisation: str, script: str, args: list[bytes], reply: list[Any]) -> None:
        """Counts rare answers, and holds one against what the caller knows."""
        account, code = self.accounts[organisation], _word(reply)
        self.tally[f"answer:{script} {code}"] += 1
        if script in ("open", "recover", "distrust"):
            changed = code in ("CLOSED", "RAISED") and not account.is_shaken
            self.must(not changed, "%s closed a ledger that has lost nothing", script)
            return
        if script == "reserve" and code == "GRANTED":
            account.granted.add(args[1].decode())
        epoch, seq = _PAIR.unpack_from(args[0])
        if account.is_shaken:
            head = account.head
            behind = head is None or epoch != head.epoch or seq > head.seq
            self.must(
                not behind or code == "RECOVERING",
                "%s by one who knows seq %d was answered %s by a ledger at %d",
                *(script, seq, code, head and head.seq),
            )
            if account.rolled_back or epoch > 0:
                self.must(
                    account.rolled_back or code == "RECOVERING",
                    "%s was answered %s by a ledger that was not recovered",
                    *(script, code),
                )
                return
        if script == "reserve":
            self._reserved(account, args, reply, code)
        elif script == "release" and code == "RELEASED":
            account.released.add(args[1].decode())
        elif script == "adopt" and code == "TOO_OLD":
            account.too_old.add(args[1].decode())
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
            account.head = None
            return
        account.head = head_of(ledger)
        if account.rolled_back:
            return
        counters = counters_of(ledger)
        if script == "reopen" and _word(reply) == "OPEN":
            outbox = self._recovered(account)
        elif account.is_shaken:
            return
        if script in ("set", "create", "compact") and _word(reply) != "STALE":
            before = account.policies
            self._read_policies(account)
            self.tally.update(learned(before, account.policies, self.must))
        for entry_id, fields in outbox:
            self._follow(account, line_of(entry_id, fields), script, ledger, counters)
        account.bodies.update(_place(entry_id) for entry_id, _ in bodies)
        self.must(account.head.seq == account.seq, "head %s, outbox %d", account.head, account.seq)
        self._compare_counters(account, counters, script)
        self._compare_leases(account, leases, expiry)
        if script == "confirm" and _word(reply) == "DONE":
            self._confirmed(account, args)

    def _recovered(self, account: Account) -> list[Any]:
        """From here on the records and what comes now are the truth; the new epoch's events."""
        policies, may_lose = account.policies, account.may_lose
        begin_again(account, *self.recorded(account.name), self.must)
        self._read_policies(account)
        self.must(may_lose or policies == account.policies, "policies are not what they were")
        account.is_shaken = account.may_lose = False
        epoch = account.head.epoch
        self.must(epoch > account.epoch, "epoch %d after %d", epoch, account.epoch)
        (entries,) = self._ask(("XRANGE", f"{{{account.name}}}:outbox", f"{epoch}-0", "+"))
        first = _place(entries[0][0])[1]
        self.must(first > account.seq_max, "epoch %d begins at %d again", epoch, first)
        account.epoch, account.seq, account.confirmed = epoch, first - 1, first - 1
        self.tally["rare:recovered"] += 1
        self.tally["rare:lost in a recovery"] += len(account.lost)
        return list(entries)

    def _read_policies(self, account: Account) -> None:
        (flat,) = self._ask(("HGETALL", f"{{{account.name}}}:policies"))
        account.policies = {
            scope.decode(): decode_policy(packed)
            for scope, packed in zip(flat[::2], flat[1::2], strict=True)
        }
        for policy in account.policies.values():
            for limit in (*policy.limits, *policy.per_child):
                account.amounts[limit.id] = limit.amount
                account.windows[limit.id] = limit.window

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
        account.seq_max = max(account.seq_max, line.seq)
        account.kinds[line.epoch, line.seq] = once
        if script == "reopen":
            for name, _, _, charged in _grouped(line.counters, 4):
                self._add(account, name, charged, 0)
                self.tally["rare:booked beyond the records"] += 1
        elif script == "adopt":
            self._adopted(account, line)
        elif line.kind == "llm_request":
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
        account.lost.pop(line.id, None)
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

    def _adopted(self, account: Account, line: Line) -> None:
        """A grant of before that its worker brings, whatever the limits say: as it was, but for
        counters of windows that are over, which nobody will look at again."""
        self.must(line.id not in account.held, "%s is taken in twice", line.id)
        lost = account.lost.pop(line.id, None)
        if lost is None:
            self.fail(f"{line.id} is taken in, and was never granted")
        amounts = {name: (dim, amount) for name, dim, amount in _grouped(line.counters, 3)}
        brought = (amounts, line.output, line.usd_nusd, line.told.scope)
        missing = lost.amounts.keys() - amounts.keys()
        # By the limits as they were: their policy may be lost, too.
        ends = {name: window_end(name, account.windows) for name in missing}
        gone = {name for name, end_s in ends.items() if end_s and end_s * 1000 <= line.time_ms}
        still = {name: each for name, each in lost.amounts.items() if name not in gone}
        known = (still, lost.output, lost.reserved_nusd, lost.scope)
        self.must(brought == known, "%s is taken in as %s, not %s", line.id, brought, known)
        self.must(line.told.detail == "recovered", "%s is taken in without a label", line.id)
        for name, (_, amount) in amounts.items():
            self._add(account, name, 0, amount)
        held = Held(line.id, line.seq, lost.scope, lost.model, lost.output, *known[2:3], amounts)
        account.held[line.id] = account.open[line.id] = held
        self.tally["rare:brought by its worker"] += 1

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
            account.compacted.discard(name)  # it came back with its scope
        for name, (spent, reserved) in account.sums.items():
            if name not in counters and (spent or reserved) and name not in account.compacted:
                left = script == "compact" or (
                    script == "reopen" and has_passed(name, account.policies, account.time_ms)
                )
                self.must(left and not reserved, "%s is gone", name)
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
        kept_from = _place(first[0][0])[1] if first else account.seq + 1
        for seq in range(account.confirmed + 1, max(through + 1, kept_from)):
            self.must(
                self.is_kept(account.name, (account.epoch, seq), spooler),
                "the ledger forgot event %d, which nobody has",
                seq,
            )
        account.confirmed = max(account.confirmed, through)


def _place(entry_id: bytes) -> tuple[int, int]:
    epoch, seq = entry_id.split(b"-")
    return int(epoch), int(seq)


def _word(reply: list[Any]) -> str:
    return str(reply[0].decode())


def _grouped(flat: tuple[Any, ...], width: int) -> list[tuple[Any, ...]]:
    return [flat[at : at + width] for at in range(0, len(flat), width)]
