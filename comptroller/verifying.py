"""Verifies the chain of every organisation against its signed heads, and exports the evidence."""

import asyncio
import json
import string
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from clickhouse.query import load_query
from clickhouse.store import Store
from comptroller.data_dir import absolute, recorder_folder
from comptroller.reading import RecordsAbsent, open_records
from comptroller.settings import Settings
from recorder.dropped import kept_since_ms
from recorder.evidence import write_evidence
from recorder.findings import Verdict
from recorder.heads import SignedHead, SigningKey, read_heads
from recorder.verification import CHAIN_COLUMNS, verify

PAGE_EVENTS = 100_000
CHAIN = string.Template(load_query("chain")).substitute(columns=CHAIN_COLUMNS)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Verified:
    """One organisation's verdict."""

    organisation: str
    verdict: Verdict

    @property
    def text(self) -> str:
        """For people."""
        outcome = "ok" if self.verdict.ok else "NOT VERIFIED"
        return f"{self.organisation}: {outcome}. {self.verdict.message}"

    def as_json(self) -> dict[str, Any]:
        """For programs: the verdict's fields, and whether it is `ok`."""
        return {"organisation": self.organisation, "ok": self.verdict.ok, **asdict(self.verdict)}


async def verify_records(
    settings: Settings, organisation: str, export: Path | None, *, show_progress: bool
) -> list[Verified]:
    """Every organisation's verdict, or that of one. With `export` its evidence goes into that
    folder as `<organisation>.jsonl`. Raises RecordsAbsent and what the records raise."""
    heads_folder = recorder_folder(absolute(settings.data_dir)) / "heads"
    key_file = heads_folder.parent / "signing-key"
    if not key_file.exists():
        raise RecordsAbsent(f"{key_file} is not there: name the right --data-dir")
    kept_since = kept_since_ms(heads_folder.parent)
    key = SigningKey.load_or_create(key_file).public_hex
    progress = _progress(show_progress)
    loop = asyncio.get_running_loop()
    async with open_records(settings) as store:
        lengths = await _lengths(store)
        signed = {each.stem for each in heads_folder.glob("*.jsonl")}
        if organisation and organisation not in {*lengths, *signed}:
            raise RecordsAbsent(f"there is no organisation {organisation!r} in these records")
        with progress:
            verdicts = []
            for each in [organisation] if organisation else sorted({*lengths, *signed}):
                heads = read_heads(heads_folder, each)
                task = progress.add_task(each, total=lengths.get(each, 0))
                check = _Check(store, loop, each, heads, key, export, kept_since)
                verdict = await asyncio.to_thread(check.run, _Bar(progress, task))
                verdicts.append(Verified(each, verdict))
    return verdicts


async def _lengths(store: Store) -> dict[str, int]:
    lines = await store.select(load_query("chain_lengths"), {})
    return dict(json.loads(line) for line in lines.splitlines())


def _progress(show: bool) -> Progress:
    columns = (
        *(TextColumn("{task.description}"), *Progress.get_default_columns()[1:3]),
        *(MofNCompleteColumn(), TimeRemainingColumn()),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not show, transient=True)


@dataclass(frozen=True, slots=True)
class _Bar:
    """One organisation's line of the progress."""

    progress: Progress
    task: TaskID

    def __call__(self, done: int) -> None:
        self.progress.update(self.task, completed=done)


@dataclass(frozen=True, slots=True)
class _Check:
    """One organisation's check, in a thread; its pages come from the loop's store."""

    store: Store
    loop: asyncio.AbstractEventLoop
    organisation: str
    heads: tuple[SignedHead, ...]
    key: str
    export: Path | None
    kept_since_ms: int

    def run(self, progress: Callable[[int], None]) -> Verdict:
        """The verdict, and the evidence if it was asked for."""
        if self.export is not None:
            self.export.mkdir(parents=True, exist_ok=True)
            with (self.export / f"{self.organisation}.jsonl").open("wb") as file:
                write_evidence(file, self.organisation, self.key, self.heads, self._rows())
        return verify(self._rows(), self.heads, self.key, progress, self.kept_since_ms)

    def _rows(self) -> Iterator[bytes]:
        epoch = seq = 0
        while True:
            place: dict[str, str | int] = {
                "org": self.organisation,
                "epoch": epoch,
                "seq": seq,
                "limit": PAGE_EVENTS,
            }
            lines = self._awaited(self.store.select(CHAIN, place)).splitlines()
            yield from lines
            if len(lines) < PAGE_EVENTS:
                return
            _, _, _, epoch, seq, *_ = json.loads(lines[-1])

    def _awaited(self, call: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(call, self.loop).result()
