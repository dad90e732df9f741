"""The judgement on a chaos run: what may never be, checked on what the parties have left behind.

Each check gives the sentences that say what is wrong; none where it holds. docs/chaos.md says what
each of them means.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from itertools import pairwise

from budgets.counters import window_start
from tests.budgets.harness import Head
from tests.chaos.evidence import ASKED, CORRECTED, ENDINGS, Account, Evidence
from tests.chaos.eyes import limit_of
from tests.chaos.records import Balance, Event
from tests.chaos.stage import cost_nusd
from tests.chaos.upstream import Served

USD = 1
Check = Callable[[Evidence], list[str]]


def nothing_is_open(evidence: Evidence) -> list[str]:
    """At rest nothing is reserved or allotted, leased, or waits to be recorded, and no name is held
    for a request that runs."""
    wrong = [
        f"{organisation}: the name of {id_} is held as if it ran"
        for organisation, ids in evidence.running.items()
        for id_ in ids
    ]
    for organisation, look in evidence.looks.items():
        if not look.is_at_rest:
            left = (look.leases, look.expiries, look.outbox, look.bodies)
            wrong.append(f"{organisation}: leases, expiries, events and payloads left: {left}")
        for name, (_, reserved, allotted) in look.counters.items():
            if reserved or allotted:
                wrong.append(f"{organisation}: {name} has {reserved} reserved, {allotted} allotted")
    return wrong


def events_sum_to_counters(evidence: Evidence) -> list[str]:
    """The events of each counter come to what the ledger counts, or to the balance of one that the
    ledger has let go."""
    wrong = []
    for organisation, look in evidence.looks.items():
        balances = evidence.balances[organisation]
        sums, within = _sums(evidence.events[organisation], balances)
        for name in sorted(sums.keys() | look.counters.keys()):
            if name in look.counters:
                source, said, summed = "the ledger", look.counters[name][0], sums[name]
            elif name in balances:
                source, said, summed = "its balance", balances[name].spent, within[name]
            elif _went_in_a_recovery(name, look.head):
                continue
            else:
                source, said, summed = "nobody", 0, sums[name]
            if said != summed:
                wrong.append(f"{organisation}: {name}: events {summed}, {source} {said}")
    return wrong


def _sums(events: list[Event], balances: dict[str, Balance]) -> tuple[Counter[str], Counter[str]]:
    """What each counter comes to by all events, and by those that its balance covers."""
    sums, within = Counter[str](), Counter[str]()
    for event in events:
        for name, _, _, charged in event.counters if event.kind != ASKED else ():
            sums[name] += charged
            kept = balances.get(name)
            if kept is not None and (event.epoch, event.seq) <= (kept.epoch, kept.seq):
                within[name] += charged
    return sums, within


def _went_in_a_recovery(name: str, head: Head) -> bool:
    """Whether a recovery has left it out, because its window was over: all windows here are of a
    minute. Its balance comes with the next snapshot of the records."""
    start_s = window_start(name)
    return head.epoch > 1 and start_s > 0 and (start_s + 60) * 1000 <= head.time_ms


def grants_fit(evidence: Evidence) -> list[str]:
    """Replayed in order, every grant fits every limit that it touches; nothing is negative; and
    what was above a limit while it ran are overruns that are labelled."""
    wrong = []
    for organisation, look in evidence.looks.items():
        replay = _Replay(look.limits)
        for event in evidence.events[organisation]:
            replay.play(event)
        wrong += [f"{organisation}: {each}" for each in replay.wrong]
        for name, above in evidence.seen.excesses[organisation].items():
            if above > replay.overruns[name]:
                wrong.append(f"{organisation}: {name} was seen {above} above its limit")
    return wrong + evidence.seen.wrong


class _Replay:
    """The counters of one organisation, event by event."""

    def __init__(self, limits: dict[str, int]) -> None:
        self.wrong: list[str] = []
        self.overruns: Counter[str] = Counter()
        self._limits = limits
        self._spent: Counter[str] = Counter()
        self._reserved: Counter[str] = Counter()

    def play(self, event: Event) -> None:
        """The next."""
        for name, _, held, charged in event.counters:
            if event.kind == ASKED:
                self._grant(event, name, held)
                continue
            self._reserved[name] -= held
            self._spent[name] += charged
            if event.kind in ENDINGS and charged > held:
                self.overruns[name] += charged - held
                if not event.overrun:
                    self.wrong.append(f"seq {event.seq} charges {charged} of {held}, no overrun")
            if event.kind == CORRECTED and charged > 0:
                self.overruns[name] += charged
            if self._reserved[name] < 0 or self._spent[name] < 0:
                both = (self._spent[name], self._reserved[name])
                self.wrong.append(f"{name} is {both} after seq {event.seq}")

    def _grant(self, event: Event, name: str, held: int) -> None:
        self._reserved[name] += held
        total = self._spent[name] + self._reserved[name]
        amount = self._limits.get(limit_of(name))
        if amount is not None and total > amount:
            self.wrong.append(f"seq {event.seq} raises {name} to {total} of {amount}")


def one_beginning_one_ending(evidence: Evidence) -> list[str]:
    """Every reservation has one event that makes it and one that ends it, later; an expired one at
    most one correction."""
    wrong = []
    for id_, account in evidence.accounts.items():
        counts = (len(account.asked), len(account.ended), len(account.corrected))
        if counts[:2] == (0, 0):
            continue  # a correction of counters, which is nobody's request
        if counts[:2] != (1, 1) or counts[2] > 1:
            wrong.append(f"{id_} has (beginnings, endings, corrections) {counts}")
        elif account.corrected and account.ended[0].kind != "reservation_expired":
            wrong.append(f"{id_} was corrected without having expired")
        elif not _place(account.asked[0]) < _place(account.ended[0]):
            wrong.append(f"{id_} ended before it began")
    return wrong


def _place(event: Event) -> tuple[int, int]:
    return event.epoch, event.seq


def every_call_was_reserved(evidence: Evidence) -> list[str]:
    """A call that reached the provider had a reservation before, of its own, and asked for the
    output that was reserved."""
    wrong = []
    for number, calls in evidence.calls.items():
        accounts = [each for each in evidence.accounts_of(number) if each.asked]
        if len(calls) > len(accounts):
            wrong.append(f"call {number} was served {len(calls)} times, reserved {len(accounts)}")
            continue
        for served in calls:
            before = [each for each in accounts if each.asked[0].time_ms <= served.begun_ms]
            if not before:
                wrong.append(f"call {number} was served before it was reserved")
            elif served.cap not in {each.asked[0].output_tokens_max for each in before}:
                wrong.append(f"call {number} was asked for {served.cap} tokens, not what was held")
    return wrong


def served_is_charged(evidence: Evidence) -> list[str]:
    """What the provider bills is charged: call by call, for each key, and in total. Where the
    provider said what it used, exactly that."""
    wrong = []
    billed, charged = Counter[str](), Counter[str]()
    for number in evidence.calls.keys() | evidence.ids.keys():
        calls, accounts = evidence.calls.get(number, []), evidence.accounts_of(number)
        key = evidence.sent[number].key
        billed[key] += sum(map(_billed_nusd, calls))
        charged[key] += sum(each.charged_nusd for each in accounts)
        wrong += [f"call {number}: {each}" for each in _call_is_charged(calls, accounts)]
    for key, nusd in billed.items():
        if nusd > charged[key]:
            wrong.append(f"key {key}: the provider bills {nusd}, charged are {charged[key]}")
    if billed.total() > charged.total():
        wrong.append(f"the provider bills {billed.total()}, charged are {charged.total()}")
    return wrong


def _billed_nusd(served: Served) -> int:
    return 0 if served.is_error else cost_nusd(served.tokens)


def _agreed_nusd(served: Served) -> int:
    """Up to the cap that was sent: who bills more, and is not heard to the end, is not covered."""
    within = (served.tokens[0], min(served.tokens[1], served.cap))
    return 0 if served.is_error else cost_nusd(within)


def _call_is_charged(calls: list[Served], accounts: list[Account]) -> list[str]:
    wrong = []
    ended = [each for each in accounts if each.ended]
    counted = [each for each in ended if each.last.usage_source == "counted"]
    least_nusd = sum(map(_agreed_nusd, calls))
    if len(calls) == 1 and counted:
        # What was on its way when the gateway cancelled is billed, and nobody there can know of it.
        (served,), read = calls, counted[0].last.response_bytes
        least_nusd = cost_nusd((served.tokens[0], served.words_within(read)))
    charged_nusd = sum(each.charged_nusd for each in ended)
    if charged_nusd < least_nusd:
        how = [(each.last.kind, each.last.usage_source, each.charged_nusd) for each in ended]
        wrong.append(f"at least {least_nusd} was served, {how} charged: {calls}")
    said = {cost_nusd(each.reported) for each in calls if each.reported}
    true = [each.charged_nusd for each in ended if each.last.usage_source == "provider"]
    wrong += [
        f"{nusd} is charged as the truth, {said} was said" for nusd in true if nusd not in said
    ]
    return wrong


def answers_are_charged(evidence: Evidence) -> list[str]:
    """Whoever got an answer, or the beginning of one, is in the records with what it cost."""
    wrong = []
    for sent in evidence.sent:
        for told in sent.told:
            if not told.id:
                continue
            account = evidence.accounts.get(told.id)
            if account is None or not account.ended:
                wrong.append(f"call {sent.number} was answered as {told.id}, which has no ending")
            elif told.label == "200" and account.charged_nusd <= 0:
                wrong.append(f"call {sent.number} was answered as {told.id} and charged nothing")
            elif told.cost_nusd is not None and account.charged_nusd < told.cost_nusd:
                both = (told.cost_nusd, account.charged_nusd)
                wrong.append(
                    f"call {sent.number} ({told.id}) was told its cost; told, charged {both}"
                )
    return wrong


def calls_are_paid_once(evidence: Evidence) -> list[str]:
    """Of all that is served under one name, or for a call without one, the provider has billed at
    most one; and never two at a time. (An attempt that has cost nothing is followed by another.)"""
    wrong = []
    names: dict[str, list[Served]] = defaultdict(list)
    for number, calls in evidence.calls.items():
        names[evidence.sent[number].name or f"call {number}"] += calls
    for name, calls in names.items():
        if sum(_billed_nusd(each) > 0 for each in calls) > 1:
            wrong.append(f"{name} was billed more than once: {calls}")
        calls.sort(key=lambda each: each.begun_ms)
        if any(after.begun_ms < before.ended_ms for before, after in pairwise(calls)):
            wrong.append(f"{name} was served twice at a time: {calls}")
    return wrong


def seq_has_no_gaps(evidence: Evidence) -> list[str]:
    """In each epoch, every seq once; an epoch begins above the one before it. The log ends where
    the ledger is."""
    wrong = []
    for organisation, events in evidence.events.items():
        places = [_place(event) for event in events]
        for before, after in pairwise(places):
            follows = after == (before[0], before[1] + 1)
            if not follows and not (after[0] > before[0] and after[1] > before[1]):
                wrong.append(f"{organisation}: {after} follows {before}")
        head = evidence.looks[organisation].head
        if not places or places[-1] != (head.epoch, head.seq):
            wrong.append(f"{organisation}: the log ends at {places[-1:]}, the ledger at {head}")
    return wrong


CHECKS: dict[str, Check] = {
    "nothing is open at rest": nothing_is_open,
    "events sum to the counters": events_sum_to_counters,
    "no grant above a limit, nothing negative": grants_fit,
    "one beginning, one ending": one_beginning_one_ending,
    "every upstream call was reserved": every_call_was_reserved,
    "what was served is charged": served_is_charged,
    "no answer without a charge": answers_are_charged,
    "a call is paid once": calls_are_paid_once,
    "seq has no gaps": seq_has_no_gaps,
}


def judged(evidence: Evidence) -> dict[str, list[str]]:
    """What is wrong, by check."""
    return {name: check(evidence) for name, check in CHECKS.items()}
