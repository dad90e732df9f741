"""One chaos run, from an empty folder to the judgement."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.clients import Crowd
from tests.chaos.evidence import Evidence
from tests.chaos.eyes import Eyes, Look
from tests.chaos.faults import Director, Operator, StackStaysDown, planned
from tests.chaos.judge import judged
from tests.chaos.records import Event, Records
from tests.chaos.report import MET_S_LEAST, Report, complaints, unmet
from tests.chaos.stage import ORGANISATIONS, Options, Stack, this_tree
from tests.chaos.upstream import Served, read_served
from tests.comptroller.commands.commanding import comptroller
from tests.gateway.processes import all_gone, descendants, free_port, processes_of

FAIR_S = 3.0
REST_S_MAX = 60.0
READ_AGAIN_MAX = 5
BOOK = "upstream.jsonl"


async def chaos(folder: Path, options: Options) -> Report:
    """Everything that was seen. What is left running is killed; the files stay."""
    report = Report(options, os.getloadavg())
    place = folder / "stack"
    place.mkdir()
    upstream = _Upstream(folder / BOOK)
    try:
        await upstream.start(options.seed)
        await _Run(place, options, report, Stack(free_port()), upstream).play()
    except (AssertionError, StackStaysDown, TimeoutError) as error:
        report.failures["the run comes to its end"] = [f"{type(error).__name__}: {error}"]
    finally:
        await upstream.stop()
        for pid in processes_of(place):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    report.load_after = os.getloadavg()
    return report


@dataclass(slots=True)
class _Run:
    folder: Path
    options: Options
    report: Report
    stack: Stack
    upstream: "_Upstream"

    async def play(self) -> None:
        """Trouble, fair weather, rest, judgement."""
        report, data_dir = self.report, self.folder / "data"
        operator = Operator(self.folder, self.upstream.port, self.stack)
        operator.start()
        await operator.until_serving()
        crowd = Crowd(self.options, self.stack)
        director = Director(planned(self.options), self.stack)
        report.crowd, report.director, report.stack = crowd, director, self.stack
        eyes = Eyes(data_dir / "ledger.sock")
        report.seen = eyes.seen
        watching = asyncio.create_task(eyes.watch())
        crowd.start()
        try:
            await director.run()
            await director.until_back()
            await operator.until_serving()
            await self._fair_weather(crowd)
            await crowd.stop()
        finally:
            director.resume()
            watching.cancel()
        records = Records(data_dir)
        looks, events = await _settled(eyes, records)
        running = {each: await eyes.running_names(each) for each in ORGANISATIONS}
        await eyes.close()
        numbers: dict[str, int] = {}
        for each in ORGANISATIONS:
            numbers |= await records.numbers(each)
        balances = {each: await records.balances(each) for each in ORGANISATIONS}
        report.failures["comptroller verify"] = await _verified(data_dir)
        report.failures["it stops in order"] = await self._stopped(operator)
        served = await self.upstream.stop()
        evidence = Evidence(
            events, looks, running, balances, numbers, served, crowd.sent, eyes.seen
        )
        report.evidence = evidence
        report.failures |= judged(evidence)
        report.failures["every kill was survived"] = [
            f"no {part} came back" for part in director.lost
        ]
        if self.options.seconds >= MET_S_LEAST:
            report.failures["it has met what it is there for"] = unmet(crowd, evidence)
        report.failures["the logs complain of nothing unknown"] = complaints(data_dir / "logs")

    async def _fair_weather(self, crowd: Crowd) -> None:
        """Without faults all is served again."""
        before = crowd.labels["200"]
        await asyncio.sleep(FAIR_S)
        served = crowd.labels["200"] - before
        wrong = [] if served else [f"nobody was served in the last {FAIR_S} s"]
        self.report.failures["it serves again when the faults end"] = wrong
        internal = crowd.labels["500"]
        self.report.failures["no internal error"] = [f"{internal} answers"] if internal else []

    async def _stopped(self, operator: Operator) -> list[str]:
        running = await operator.until_serving()
        family = descendants(running.process.pid)
        code = await operator.stop()
        try:
            await all_gone(family)
        except AssertionError as error:
            return [str(error)]
        return [f"exit code {code}"] if code else []


async def _settled(eyes: Eyes, records: Records) -> tuple[dict[str, Look], dict[str, list[Event]]]:
    """Ledger and records of one moment: refusals are written until a second after the last."""
    for _ in range(READ_AGAIN_MAX):
        looks = await eyes.until_at_rest(REST_S_MAX)
        events = {each: await records.events(each) for each in ORGANISATIONS}
        after = await eyes.until_at_rest(REST_S_MAX)
        if all(looks[each].head.seq == after[each].head.seq for each in ORGANISATIONS):
            break
    return looks, events


async def _verified(data_dir: Path) -> list[str]:
    asked = ("verify", "--json", "--data-dir", str(data_dir))
    verdict = await comptroller(*asked, environment=this_tree())
    return [f"exit code {verdict.code}: {verdict.out} {verdict.err}"] if verdict.code else []


class _Upstream:
    """The provider's process."""

    def __init__(self, book: Path) -> None:
        self.port = 0
        self._book = book
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, seed: int) -> None:
        """Returns when it listens."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "tests.chaos.upstream", str(seed), str(self._book)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self.port = int(json.loads(await self._process.stdout.readline())["port"])

    async def stop(self) -> list[Served]:
        """Its book, with all that was under way."""
        if self._process is not None and self._process.returncode is None:
            self._process.terminate()
            await self._process.wait()
        return await asyncio.to_thread(read_served, self._book)
