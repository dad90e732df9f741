"""What a chaos run came to, for people: as Markdown, which is also fit for a terminal."""

import json
import os
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from tests.chaos.clients import Crowd
from tests.chaos.evidence import Evidence
from tests.chaos.eyes import Seen
from tests.chaos.faults import KILL, Director
from tests.chaos.stage import Options, Stack, cost_nusd

SHOWN_MAX = 10
SHOWN_CHARS_MAX = 600
# What the logs may say as an error while parts are killed as they start, and while they stop.
_KNOWN = tuple(
    map(
        re.compile,
        (
            "did not start",
            "does not end, and is killed",
            # The ledger was away as the worker stopped: leases are charged, refusals not counted.
            r"\d+ settlements were not taken",
            r"\d+ refusals were not recorded",
            r"Cancel \d+ running task.* graceful shutdown exceeded",
            "bills more than its bound",  # as it does here, and must be told
        ),
    )
)
_MET = (
    *("200", "402", "409", "429", "502"),
    *("provider", "reserved", "counted", "none", "reservation_expired", "an overrun"),
)
MET_S_LEAST = 60
_NUMBERS = re.compile(r"[0-9a-f]{12,}|\d+")


@dataclass
class Report:
    """Filled in as the run goes on. `failures` are sentences by check, empty where it held."""

    options: Options
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float] = (0.0, 0.0, 0.0)
    crowd: Crowd | None = None
    director: Director | None = None
    stack: Stack | None = None
    seen: Seen | None = None
    evidence: Evidence | None = None
    failures: dict[str, list[str]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every check was made, and held."""
        return self.evidence is not None and not any(self.failures.values())

    def markdown(self) -> str:
        """All of it."""
        sections = (
            self._title(),
            self._requests(),
            self._faults(),
            self._money(),
            self._checks(),
        )
        return "\n".join(line for section in sections for line in section) + "\n"

    def _title(self) -> list[str]:
        options = self.options
        outcome = "passed" if self.ok else "FAILED"
        load = " ".join(f"{each:.1f}" for each in (*self.load_before[:1], *self.load_after))
        machine = f"{os.cpu_count()} cores, load before and after (1, 5, 15 min): {load}"
        faults = (
            f"{options.seconds:.0f} s of faults, seed {options.seed}, {options.callers} callers"
        )
        return [f"## Chaos run: {outcome}", "", f"{faults}; {machine}.", ""]

    def _requests(self) -> list[str]:
        crowd = self.crowd
        if crowd is None:
            return []
        rows = [f"| {label} | {count} |" for label, count in sorted(crowd.labels.items())]
        tries = f"{crowd.labels.total()} tries of {len(crowd.sent)} requests"
        longest = f"{crowd.longest_s:.1f} s, until {crowd.longest_at_s:.0f} s after the start"
        return [
            f"{tries}; longest time without any answer {longest}.",
            "",
            *("| outcome | tries |", "|---|---|", *rows, ""),
        ]

    def _faults(self) -> list[str]:
        director, stack = self.director, self.stack
        if director is None or stack is None:
            return []
        rows = [
            f"| {kind} | {part} | {count} | {_times(director, kind, part)} |"
            for (kind, part), count in sorted(director.done.items())
        ]
        kills = sum(count for (kind, _), count in director.done.items() if kind == KILL)
        survived = sum(map(len, director.back_s.values()))
        starts = f"{stack.starts} starts of the stack, {stack.starts_that_failed} of them in vain"
        return [
            f"{kills} kills, {survived} survived; {starts}.",
            "",
            *("| fault | part | times | back after (median, longest) |", "|---|---|---|---|"),
            *(*rows, ""),
        ]

    def _money(self) -> list[str]:
        evidence = self.evidence
        if evidence is None:
            return []
        events = Counter(event.kind for event in evidence.all_events())
        sources = Counter(
            account.last.usage_source or "expired"
            for account in evidence.accounts.values()
            if account.ended
        )
        moods = Counter(each.mood for each in evidence.served)
        billed = sum(cost_nusd(each.tokens) for each in evidence.served if not each.is_error)
        charged = sum(each.charged_nusd for each in evidence.accounts.values())
        overruns = sum(bool(event.overrun) for event in evidence.all_events())
        epochs = {each: look.head.epoch for each, look in evidence.looks.items()}
        looks = self.seen.looks if self.seen else 0
        served = f"The provider served {len(evidence.served)} calls and bills {_usd(billed)}"
        return [
            f"{served}; {_usd(charged)} were charged. {overruns} overruns are labelled.",
            f"The counters were looked at {looks} times while it ran. Epochs at the end: {epochs}.",
            "",
            f"* events: {_counted(events)}",
            f"* endings by source: {_counted(sources)}",
            f"* what the provider did: {_counted(moods)}",
            "",
        ]

    def _checks(self) -> list[str]:
        lines = ["| check | |", "|---|---|"]
        lines += [
            f"| {name} | {f'**{len(wrong)} wrong**' if wrong else 'holds'} |"
            for name, wrong in self.failures.items()
        ]
        for name, wrong in self.failures.items():
            if wrong:
                shown = [f"* {each[:SHOWN_CHARS_MAX]}" for each in wrong[:SHOWN_MAX]]
                lines += ["", f"### {name}", "", *shown]
        if self.evidence is None:
            lines += ["", "The run did not come to the judgement."]
        return lines


def unmet(crowd: Crowd, evidence: Evidence) -> list[str]:
    """What a run of a minute has met, whatever the seed is, if it tests what it says."""
    accounts = [each for each in evidence.accounts.values() if each.ended]
    met = {
        *crowd.labels,
        *(each.last.usage_source for each in accounts),
        *(each.ended[0].kind for each in accounts),
        *("an overrun" for each in evidence.all_events() if each.overrun),
    }
    return [f"nothing came to {name}" for name in _MET if name not in met]


def _times(director: Director, kind: str, part: str) -> str:
    times = director.back_s.get(part, []) if kind == KILL else []
    return f"{median(times):.1f} s, {max(times):.1f} s" if times else ""


def _usd(nusd: int) -> str:
    return f"${nusd // 10**9}.{nusd % 10**9:09}"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())


def complaints(logs: Path) -> list[str]:
    """Errors that the parts have logged, alike ones once, but for those that kills explain."""
    found: Counter[str] = Counter()
    first: dict[str, str] = {}
    for file in sorted(logs.glob("*.log*")):
        for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
            if '"level": "error"' not in line and '"traceback"' not in line:
                continue
            entry = json.loads(line)
            message = entry["message"]
            if any(known.search(message) for known in _KNOWN):
                continue
            kind = f"{file.name}: {entry['level']}: {_NUMBERS.sub('#', message)[:200]}"
            found[kind] += 1
            tail = entry.get("traceback", "").splitlines()[-1:]
            first.setdefault(kind, " ".join([entry["time"], *tail]))
    return [f"{count} x {kind} (first {first[kind]})" for kind, count in found.most_common()]
