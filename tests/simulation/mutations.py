"""Faults that are put into the product on purpose: the simulation must find each of them."""

import hashlib
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import gateway.ending
import recorder.restoring
from budgets.answers import Truth
from budgets.bringing import Bringing
from budgets.endingdisk import EndingDisk
from budgets.leases import LeaseKeeper
from budgets.ledger import Ledger
from budgets.scripts import Script, load_scripts
from gateway.dialects.chat import ChatDialect
from gateway.ending import Ending
from recorder.organisation import OrganisationRecorder
from recorder.writer import Writer
from tests.simulation.director import Plot
from tests.simulation.ledger_server import NOW_CHUNK, RUN_CHUNK


@dataclass(frozen=True, slots=True)
class InScript:
    """One text of the named scripts (all, where none is named) is replaced by another."""

    old: str
    new: str
    scripts: tuple[str, ...] = ()

    def scripts_with_it(self) -> dict[str, Script]:
        """All scripts, these ones changed."""
        found = load_scripts(NOW_CHUNK, RUN_CHUNK)
        changed = {
            name: _with_text(script, script.text.replace(self.old.encode(), self.new.encode()))
            for name, script in found.items()
            if (name in self.scripts or not self.scripts) and self.old.encode() in script.text
        }
        assert changed, f"no script has {self.old!r} any more"
        return found | changed


def _with_text(script: Script, text: bytes) -> Script:
    sha = hashlib.sha1(text, usedforsecurity=False).hexdigest().encode()
    return Script(script.name, text, sha)


IN_SCRIPTS = {
    "a limit is exceeded by one": InScript(
        "elseif need > room then", "elseif need > room + 1 then", ("reserve",)
    ),
    "what is reserved is not counted": InScript(
        "local room = amount - spent - reserved - allotted",
        "local room = amount - spent",
        ("reserve",),
    ),
    "a settlement can be repeated": InScript(
        "bury(KEYS[6], id, 'settled')",
        "bury(KEYS[6], id, expired_mark(booked, '', 0, 0))",
        ("settle",),
    ),
    "a release keeps the lease": InScript("if lease then drop_lease(id) end", "", ("release",)),
    "a heartbeat loses the lease": InScript(
        "call('ZADD', KEYS[5], 'XX', expires, id)",
        "call('HDEL', KEYS[4], id) call('ZREM', KEYS[5], id)",
        ("extend",),
    ),
    "an event is confirmed too many": InScript("through + 1", "through + 2", ("confirm",)),
    "what was released can be granted": InScript(
        "if call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end", "", ("reserve",)
    ),
    "a frozen scope admits": InScript(
        "if code then return {code, node} end",
        "if code == 'STALE' or code == 'UNKNOWN' then return {code, node} end",
        ("reserve",),
    ),
    "a window that is over is used": InScript(
        "if not windows_current(limits) then return {'WINDOW', time_ms} end", "", ("reserve",)
    ),
    "a rolled back ledger goes on": InScript(
        "return epoch_known == epoch and seq_known <= seq", "return epoch_known == epoch"
    ),
    "an expired lease is charged nothing": InScript(
        "book(lease, {})", "book(lease, {0, 0, 0})", ("sweep",)
    ),
    "the name of a request is ignored": InScript(
        "local mark = KEYS[7] and call('GET', KEYS[7])", "local mark = nil", ("reserve",)
    ),
    "a recovery raises no epoch": InScript(
        "epoch = -(math.max(math.abs(epoch), of_epoch) + 1)",
        "epoch = -math.max(math.abs(epoch), of_epoch)",
        ("recover",),
    ),
    "a restarted server is believed": InScript(
        "if ARGV[1] == 'looks' then return {'RECOVERING'} end", "", ("open",)
    ),
    "what has ended is taken in again": InScript(
        " or call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end",
        " then return {'ALREADY'} end",
        ("adopt",),
    ),
    "late truth is booked on top": InScript(
        "local raw, delta = call('HGET', KEYS[1], field), actual - charged",
        "local raw, delta = call('HGET', KEYS[1], field), actual",
        ("settle",),
    ),
}


@contextmanager
def _patched(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, make(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def _released_when_unknown(before: Any) -> Any:
    def truth(self: Ending) -> tuple[str, Truth]:
        if self.outcome == "unknown" and self.usage.meters is None:
            return "released", Truth(0, 0, 0)
        answer: tuple[str, Truth] = before(self)
        return answer

    return truth


def _uncapped(before: Any) -> Any:
    return lambda self, encoded, field, output: before(self, encoded, field, output + 1)


def _under_a_token_of_its_own(before: Any) -> Any:
    numbers = itertools.count()

    async def insert(self: Writer, batch: Any, token: str) -> None:
        await before(self, batch, f"{token}~{next(numbers)}")

    return insert


def _never_in_doubt(before: Any) -> Any:
    async def write(self: Writer, batch: Any, *, doubt: bool) -> None:
        await before(self, batch, doubt=False)

    return write


def _confirmed_first(before: Any) -> Any:
    async def write(self: Any, batch: Any) -> None:
        await self._confirm(batch, on_disk=False)
        await before(self, batch)

    return write


def _half_of(before: Any) -> Any:
    async def settle(self: Ledger, organisation: str, id_: str, truth: Truth, *rest: Any) -> str:
        usd = truth.usd_nusd
        halved = Truth(usd // 2 if usd else usd, truth.tokens, truth.requests)
        outcome: str = await before(self, organisation, id_, halved, *rest)
        return outcome

    return settle


def _never_swept(before: Any) -> Any:
    async def sweep(self: LeaseKeeper, organisation: str) -> None:
        """The dead keep what they have."""

    return sweep


def _nothing_is_brought(before: Any) -> Any:
    async def bring(self: Bringing, slot: Any) -> None:
        self._kept.brought(slot.organisation, slot.epoch)

    return bring


def _none_reserved(before: Any) -> Any:
    def counters(*args: Any) -> Any:
        found, booked = before(*args)
        return {name: (spent, 0, allotted) for name, (spent, _, allotted) in found.items()}, booked

    return counters


def _until_one_is_not_full(before: Any) -> Any:
    async def drained(self: OrganisationRecorder) -> Any:
        while await self.step():
            pass
        return self._head or await self._open()

    return drained


def _taken_up_and_forgotten(before: Any) -> Any:
    async def take_up(self: EndingDisk) -> Any:
        left = await before(self)
        for each in left or ():
            self.took(each)
        return left and []

    return take_up


IN_CODE: dict[str, tuple[tuple[Any, str, Callable[[Any], Any]], ...]] = {
    "an unknown outcome is released": ((Ending, "_truth", _released_when_unknown),),
    "the provider may produce more": ((ChatDialect, "with_cap", _uncapped),),
    "a batch is written without asking": (
        (Writer, "_insert_events", _under_a_token_of_its_own),
        (Writer, "write", _never_in_doubt),
    ),
    "a batch is confirmed before it is written": (
        (OrganisationRecorder, "_write", _confirmed_first),
    ),
    "a page is counted as if it were a stream": (
        (gateway.ending, "_is_event_stream", lambda _before: lambda _headers: True),
    ),
    "half of the truth is booked": ((Ledger, "settle", _half_of),),
    "leases of the dead are not swept": ((LeaseKeeper, "_sweep", _never_swept),),
    "a worker brings nothing": ((Bringing, "_bring", _nothing_is_brought),),
    "what is reserved does not come back": ((recorder.restoring, "_counters", _none_reserved),),
    "a recovery leaves the outbox behind": (
        (OrganisationRecorder, "drained", _until_one_is_not_full),
    ),
    "endings of the dead are forgotten": ((EndingDisk, "take_up", _taken_up_and_forgotten),),
}


@contextmanager
def put_in(name: str) -> Iterator[dict[str, Script]]:
    """The scripts to play with, and the code patched, while the context is open."""
    if name in IN_SCRIPTS:
        yield IN_SCRIPTS[name].scripts_with_it()
        return
    first, *more = IN_CODE[name]
    with _patched(*first):
        if more:
            with _patched(*more[0]):
                yield load_scripts(NOW_CHUNK, RUN_CHUNK)
        else:
            yield load_scripts(NOW_CHUNK, RUN_CHUNK)


# What the rarer ones need to happen, so that each is found in some tens of episodes at most,
# whatever the seed is. The others are found in a handful of any.
PLOTS = {
    "a settlement can be repeated": Plot(
        ("lose_replies", "lose_replies", "slow_network", "break_connections", "clear_up")
    ),
    "a release keeps the lease": Plot(
        ("lose_replies", "providers_away", "break_connections", "clear_up"), ("says an error",)
    ),
    "what was released can be granted": Plot(
        ("lose_requests", "lose_requests", "slow_network", "break_connections", "providers_away")
    ),
    "a rolled back ledger goes on": Plot(("break_connections",), rolls_back=1.0),
    "an expired lease is charged nothing": Plot(
        ("kill_a_worker", "kill_a_worker", "pause_a_process", "sleep_past_a_lease")
    ),
    "what has ended is taken in again": Plot(("empty_the_ledger", "put_the_ledger_back")),
    "late truth is booked on top": Plot(
        ("pause_a_process", "pause_a_process", "pause_a_process", "add_a_worker", "mint_a_key"),
        ("is slow", "drips"),
    ),
    "a batch is written without asking": Plot(
        ("store_loses_answers", "kill_a_recorder", "clear_up")
    ),
    "a page is counted as if it were a stream": Plot(
        ("clear_up", "kill_a_recorder"), ("is cut off by HTML",)
    ),
    "leases of the dead are not swept": Plot(
        ("kill_a_worker", "kill_a_worker", "sleep_past_a_lease")
    ),
    "a worker brings nothing": Plot(("empty_the_ledger", "put_the_ledger_back")),
    "what is reserved does not come back": Plot(
        ("restart_the_ledger", "restart_the_ledger", "empty_the_ledger", "put_the_ledger_back")
    ),
    "a recovery leaves the outbox behind": Plot(
        ("empty_the_ledger", "restart_the_ledger", "put_the_ledger_back")
    ),
    "endings of the dead are forgotten": Plot(
        ("kill_a_worker", "kill_a_worker", "ledger_away", "pause_the_ledger")
    ),
}
