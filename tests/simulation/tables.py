"""What the records in memory answer: each query of the product in plain Python over the rows."""

import json
import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec

from clickhouse.events import COLUMNS, DERIVED_COLUMNS, FIRST_COLUMNS, EventRow
from clickhouse.query import load_query
from recorder.openrequests import OPEN_NAMES

_EVENT = ("hash", "prev_hash", *DERIVED_COLUMNS, *COLUMNS)
_EMPTY = msgspec.structs.astuple(EventRow("", 1, 1, 1, "", ""))
_AT = {name: place for place, name in enumerate(_EVENT)}
_ENDINGS = ("llm_response", "reservation_expired")
_NOT_ENDED = ("llm_request", "settlement_unbooked")
_NUMBERS = ("after_epoch", "after_seq", "epoch", "seq", "time_ms")
_Asked = dict[str, Any]
_Place = tuple[int, int]
_START = (0, 0)


class Tables:
    """`events` has the rows of the chain (part 0) as they were inserted, `bodies` (seq) of
    payloads, `states` (text, time) by (epoch, seq, kind, name), `balances` (epoch, seq, time,
    spent) by counter and dimension, `snapshots` (epoch, seq, open): all by organisation."""

    def __init__(self) -> None:
        self.events: dict[str, list[list[Any]]] = {}
        self.bodies: dict[str, Counter[_Place]] = {}
        self.seqs: dict[str, set[_Place]] = {}
        self.states: dict[str, dict[tuple[int, int, str, str], tuple[str, int]]] = {}
        self.balances: dict[str, dict[tuple[str, int], list[tuple[int, int, int, int]]]] = {}
        self.snapshots: dict[str, list[tuple[int, int, list[str]]]] = {}

    # Batches.

    def last_event(self, asked: _Asked) -> list[Any]:
        """See clickhouse/queries, as for all that follow."""
        rows = self.events.get(asked["org"], [])
        if not rows:
            return []
        last = max(rows, key=_place)
        return [[last[_AT[name]] for name in ("epoch", "seq", "hash", "time_ms")]]

    def batch_count(self, asked: _Asked) -> list[Any]:
        """How many of a batch."""
        rows = self.events.get(asked["org"], [])
        return [[sum(_in_batch(_place(row), asked) for row in rows)]]

    def batch_bodies(self, asked: _Asked) -> list[Any]:
        """The same of payloads."""
        there = self.bodies.get(asked["org"], Counter())
        return [[sum(_in_batch(place, asked) for place in there)]]

    def batch_states(self, asked: _Asked) -> list[Any]:
        """The same of states."""
        places = self.states.get(asked["org"], {})
        return [[sum(_in_batch(place[:2], asked) for place in places)]]

    # What stands.

    def organisations(self, asked: _Asked) -> list[Any]:  # noqa: ARG002
        """All."""
        return [[name] for name in sorted({*self.events, *self.snapshots})]

    def snapshot(self, asked: _Asked) -> list[list[Any]]:
        """The last."""
        found = self.snapshots.get(asked["org"], [])
        return [list(max(found))] if found else []

    def snapshot_place(self, asked: _Asked) -> list[Any]:
        """Its seq and epoch."""
        return [[each[1], each[0]] for each in self.snapshot(asked)]

    def balances_missing(self, asked: _Asked) -> list[Any]:
        """Bookings that no balance has."""
        organisation = asked["org"]
        booked = self._booked(asked)
        return [[sum(place > self._kept(organisation, name)[:2] for place, name, _ in booked)]]

    def take_balances(self, asked: _Asked) -> None:
        """Adds up, as the statement does."""
        organisation = asked["org"]
        sums: Counter[tuple[str, int]] = Counter()
        touched = set()
        for place, counter, charged in self._booked(asked):
            kept = self._kept(organisation, counter)
            if place > kept[:2]:
                touched.add(counter)
                sums[counter] += charged
        for counter in sorted(touched):
            spent = self._kept(organisation, counter)[3] + sums[counter]
            row = asked["epoch"], asked["seq"], asked["time_ms"], spent
            self.balances.setdefault(organisation, {}).setdefault(counter, []).append(row)

    def balances_at(self, asked: _Asked) -> list[Any]:
        """Balance and what came after it."""
        organisation = asked["org"]
        sums = Counter(
            {
                each: self._kept(organisation, each)[3]
                for each in self.balances.get(organisation, {})
            }
        )
        for place, counter, charged in self._booked(asked):
            if place > self._kept(organisation, counter)[:2]:
                sums[counter] += charged
        return [[*counter, spent] for counter, spent in sorted(sums.items())]

    def balances_of(self, asked: _Asked) -> list[Any]:
        """The last of some."""
        wanted = _names(asked["fields"])
        return [
            [name, max(rows)[3], max(row[2] for row in rows)]
            for (name, _), rows in sorted(self.balances.get(asked["org"], {}).items())
            if name in wanted
        ]

    def open_requests(self, asked: _Asked) -> list[Any]:
        """What a recovery needs of each."""
        rows = [row for row in self._sorted(asked) if _is_between(_place(row), asked)]
        ended = {row[_AT["request_id"]] for row in rows if row[_AT["event_type"]] in _ENDINGS}
        return [
            [row[_AT[name]] for name in OPEN_NAMES]
            for row in rows
            if row[_AT["event_type"]] == "llm_request" and row[_AT["request_id"]] not in ended
        ]

    def ended_between(self, asked: _Asked) -> list[Any]:
        """Ids."""
        ended = [
            row[_AT["request_id"]]
            for row in self._sorted(asked)
            if _is_between(_place(row), asked) and row[_AT["event_type"]] in _ENDINGS
        ]
        return [[ended]]

    def endings_since(self, asked: _Asked) -> list[Any]:
        """Oldest first."""
        names = ("request_id", "event_type", "counters", "output_tokens_max", "reserved_nusd")
        return [
            [row[_AT[name]] for name in names]
            for row in self._sorted(asked)
            if row[_AT["event_type"]] not in _NOT_ENDED and row[_AT["time_ms"]] >= asked["since_ms"]
        ]

    def states_at(self, asked: _Asked) -> list[Any]:
        """The last of each."""
        upto = asked["epoch"], asked["seq"]
        found = self._standing(asked["org"], lambda *named: named[2] <= upto)
        return [
            [kind, name, text, since] for (kind, name), (_, text, since) in sorted(found.items())
        ]

    def states_of(self, asked: _Asked) -> list[Any]:
        """Of some scopes and keys."""
        found = self._standing(asked["org"], _named_in(asked))
        return [
            [kind, name, text, since] for (kind, name), (_, text, since) in sorted(found.items())
        ]

    def remembered(self, asked: _Asked) -> list[Any]:
        """Of scopes that have left the ledger."""
        found = self._standing(asked["org"], _named_in(asked))
        answer = [[*named, 0, 0, 0, text] for named, (_, text, _) in sorted(found.items())]
        fields = _names(asked["fields"])
        for (name, _), rows in sorted(self.balances.get(asked["org"], {}).items()):
            if name in fields:
                epoch, seq, _, spent = max(rows)
                answer.append(["spent", name, epoch, seq, spent, ""])
        late: list[Any] = []
        last = 0
        for row in self._sorted(asked):
            epoch, seq = _place(row)
            if asked["after_seq"] < seq <= asked["through_seq"]:
                last = max(last, seq)
                if row[_AT["event_type"]] != "llm_request":
                    late += (
                        [name, epoch, seq, charged]
                        for name, _, _, charged in row[_AT["counters"]]
                        if name in fields
                    )
        answer.append(["log", "", 0, last, 0, json.dumps(late)])
        return answer

    def seq_before(self, asked: _Asked) -> list[Any]:
        """The last event up to a time."""
        rows = [row for row in self._sorted(asked) if row[_AT["time_ms"]] <= asked["until_ms"]]
        return [[rows[-1][_AT["seq"]]]] if rows else []

    def used_among(self, asked: _Asked) -> list[Any]:
        """Scopes of later events."""
        wanted = _names(asked["scopes"])
        used = {
            row[_AT["scope"]]
            for row in self.events.get(asked["org"], [])
            if row[_AT["seq"]] > asked["after_seq"]
        }
        return [[scope] for scope in sorted(used & wanted)]

    def days(self, asked: _Asked) -> list[Any]:  # noqa: ARG002
        """Nothing is ever old enough to be dropped here."""
        return []

    def command_of(self, statement: str) -> None:
        """The recorder's one statement that writes; others are for days that are dropped."""
        found = _TAKE_BALANCES.fullmatch(statement)
        if found is None:
            raise AssertionError(f"the records in memory do not know {statement}")
        asked: _Asked = {name: int(found[name]) for name in _NUMBERS}
        self.take_balances({"org": found["org"].strip("'"), **asked})

    # Rows.

    def in_order(self, organisation: str) -> list[list[Any]]:
        """All of an organisation's, as the log goes."""
        return sorted(self.events.get(organisation, []), key=_place)

    def _sorted(self, asked: _Asked) -> list[list[Any]]:
        return self.in_order(asked["org"])

    def _booked(self, asked: _Asked) -> Iterator[tuple[_Place, tuple[str, int], int]]:
        for row in self.events.get(asked["org"], []):
            if row[_AT["event_type"]] != "llm_request" and _is_between(_place(row), asked):
                for name, dimension, _, charged in row[_AT["counters"]]:
                    yield _place(row), (name, dimension), charged

    def _kept(self, organisation: str, counter: tuple[str, int]) -> tuple[int, int, int, int]:
        return max(self.balances.get(organisation, {}).get(counter, [(*_START, 0, 0)]))

    def _standing(
        self, organisation: str, is_wanted: Any
    ) -> dict[tuple[str, str], tuple[_Place, str, int]]:
        found: dict[tuple[str, str], tuple[_Place, str, int]] = {}
        states = self.states.get(organisation, {})
        cuts = [
            (int(name), (int(text.split()[0]), int(text.split()[1])))
            for (_, _, kind, name), (text, _) in states.items()
            if kind == "epoch"
        ]
        for (epoch, seq, kind, name), (text, time_ms) in states.items():
            place = epoch, seq
            came_to_nothing = any(epoch < begun and place > end for begun, end in cuts)
            if came_to_nothing or not is_wanted(kind, name, place):
                continue
            before = found.get((kind, name))
            since_ms = max(time_ms, before[2]) if before else time_ms
            if before is None or place > before[0]:
                found[kind, name] = place, text, since_ms
            else:
                found[kind, name] = before[0], before[1], since_ms
        return found


def _pattern(template: str) -> re.Pattern[str]:
    """Of a statement, with a group for each parameter (named as where it first comes)."""
    text, seen = "", set[str]()
    for literal, name in re.findall(r"([^$]*)(?:\$([a-z_]+))?", template):
        text += re.escape(literal)
        if name in seen:
            text += f"(?P={name})"
        elif name:
            seen.add(name)
            text += f"(?P<{name}>'[^']*'|\\d+)"
    return re.compile(text)


_TAKE_BALANCES = _pattern(load_query("take_balances"))


def column(row: list[Any], name: str) -> Any:
    """A value of a row by its column."""
    return row[_AT[name]]


def canonical_part(row: list[Any]) -> bytes:
    """What the chain covers of a row: later columns that are empty at its end are not in it."""
    said = row[2 + len(DERIVED_COLUMNS) :]
    while len(said) > FIRST_COLUMNS and said[-1] == _EMPTY[len(said) - 1]:
        said = said[:-1]
    return msgspec.json.encode(said)


def _place(row: list[Any]) -> _Place:
    return row[_AT["epoch"]], row[_AT["seq"]]


def _is_between(place: _Place, asked: _Asked) -> bool:
    after: _Place = asked["after_epoch"], asked["after_seq"]
    upto: _Place = asked["epoch"], asked["seq"]
    return after < place <= upto


def _in_batch(place: tuple[int, ...], asked: _Asked) -> bool:
    return place[0] == asked["epoch"] and place[1] in range(asked["first"], asked["last"] + 1)


def _names(array: str) -> set[str]:
    return {name.strip("'") for name in array.strip("[]").split(",")}


def _named_in(asked: _Asked) -> Any:
    scopes, keys = _names(asked["scopes"]), _names(asked["keys"])
    return lambda kind, name, _: (
        name in (keys if kind == "key" else scopes if kind in ("scope", "policy") else ())
    )
