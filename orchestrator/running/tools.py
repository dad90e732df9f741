"""What an attempt works with: the gateway, programs, servers, other workflows."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

from budgets.session import Clock
from orchestrator.bundle import DEPTH_MAX, Bundle, bundle_from
from orchestrator.inputs import filled
from orchestrator.kinds.contract import Answer, Signal, StepFailed, Waits
from orchestrator.places import AttemptPlace
from orchestrator.problems import DefinitionInvalid
from orchestrator.progress import ENDED, Task
from orchestrator.running.acts import end_told
from orchestrator.running.callbacks import Callbacks
from orchestrator.running.calls import GatewayCalls
from orchestrator.running.database import Database, Row, sql
from orchestrator.running.journal import Hold, Journal
from orchestrator.running.live import Live
from orchestrator.running.programs import FUNCTION_RUNNER, Program, Programs
from orchestrator.running.rows import ClaimedRun
from orchestrator.running.sends import Sends, Sent
from orchestrator.running.submitting import Inside, NameTaken, Submission, Submit
from orchestrator.unread import Unread, value_of

AGAIN_MS = 1_000
"""After which it is looked again whether a run inside has ended."""
_log = logging.getLogger("comptroller.steps")


@dataclass(frozen=True, slots=True)
class Toolbox:
    """For all attempts of an executor. `gateway_url`: as in OPENAI_BASE_URL; `programs_folder`:
    None where no program may be run."""

    journal: Journal
    calls: GatewayCalls
    sends: Sends
    programs: Programs
    clock: Clock
    gateway_url: str
    programs_folder: Path | None
    callbacks: Callbacks
    live: Live


@dataclass(frozen=True, slots=True)
class AttemptTools:
    """See orchestrator.kinds.contract.Attempt."""

    toolbox: Toolbox
    hold: Hold
    claimed: ClaimedRun
    bundle: Bundle
    place: AttemptPlace
    state: Task
    signal: Signal | None
    secret: str
    deadline_ms: int

    @property
    def model(self) -> str | None:
        """See Attempt."""
        return self.bundle.workflow.defaults.model

    @property
    def begun_ms(self) -> int:
        """See Attempt."""
        return self.state.begun_ms

    @property
    def now_ms(self) -> int:
        """See Attempt."""
        return self.toolbox.clock.now_ms()

    @property
    def name(self) -> str:
        """See Attempt."""
        return self.place.name

    @property
    def function_runner(self) -> tuple[str, ...]:
        """See Attempt."""
        return FUNCTION_RUNNER

    async def ask(self, path: str, body: Mapping[str, Any], call: str) -> Answer:
        """See Attempt."""
        return await self.toolbox.calls.ask(
            base_url=self.toolbox.gateway_url,
            secret=self.secret,
            path=path,
            body=body,
            idempotency_key=f"{self.name}/{call}",
            timeout_s=self._left_s,
            said=partial(self.toolbox.live.say, self.place, "text"),
        )

    async def run_program(self, argv: tuple[str, ...], env: Mapping[str, str], given: Any) -> Any:
        """See Attempt."""
        program = Program(
            argv=argv,
            folder=self._folder(),
            env=env,
            variables=self._variables(),
            given=given,
            secrets=(self.secret,),
        )
        return await self.toolbox.programs.run(program, self._log)

    async def send(  # what makes a request
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Any,
        *,
        key: bool,
        callback: bool,
    ) -> Answer:
        """See Attempt."""
        sent = Sent(
            method=method,
            url=url,
            headers=headers,
            body=body,
            attempt=self.name,
            key=self.secret if key else None,
            base_url=self.toolbox.gateway_url if key else "",
            callback_url=self.toolbox.callbacks.address(self.place) if callback else "",
        )
        return await self.toolbox.sends.send(sent, self._left_s)

    async def run_workflow(self, name: str, given: Mapping[str, Any]) -> Any:
        """See Attempt."""
        if self.signal is not None and self.signal.payload["run"] == await self._inside():
            return _output_of(self.signal.payload)
        bundle, folder = await self._bundle(name)
        if self.claimed.depth >= DEPTH_MAX:
            raise StepFailed(f"runs are at most {DEPTH_MAX} deep inside each other", is_final=True)
        try:
            values = filled(bundle.workflow, given)
        except DefinitionInvalid as error:
            raise StepFailed(str(error), is_final=True) from None
        submission = Submission(
            organisation=self.place.run.organisation,
            scope=self.place.scope,
            bundle=bundle,
            given=values,
            by=self.claimed.by,
            folder=folder,
            named=self._named,
            inside=Inside(
                run=self.place.run.id,
                task=self.place.task,
                depth=self.claimed.depth + 1,
                fences=self.place.fences,
                told_by=self.state.told_by,
            ),
        )
        try:
            run = (await self.toolbox.journal.write(Submit(submission, self.hold))).run
        except NameTaken as taken:  # an attempt before this one, when the workflow was another
            run = taken.run
        ended = await self.toolbox.journal.read(lambda database: _ended(database, run))
        if ended is None:
            # What it was told was of another run: the true end, told beside that, would be lost.
            raise Waits(None if self.signal is None else self.now_ms + AGAIN_MS)
        return _output_of(value_of(ended))

    @property
    def _named(self) -> str:
        """What the run inside is submitted under: after a failure, and in each round, another."""
        state = self.state
        return f"{self.place.run.id}/{self.place.task.label}/{state.round}/{state.failures}"

    async def _inside(self) -> str:
        """The run inside that this attempt waits for: one before it, which has failed, may have
        been tried again by somebody, and ended meanwhile."""
        named = (self.place.run.organisation, self._named)
        rows = await self.toolbox.journal.read(lambda database: database.rows(sql("named"), named))
        return str(rows[0][0]) if rows else ""

    async def _bundle(self, name: str) -> tuple[Bundle, str]:
        """A file that was submitted with this workflow, or one that is known by its name, and the
        folder where it works."""
        if name in self.bundle.files:
            return self.bundle.files[name], self.claimed.folder
        organisation = self.place.run.organisation
        rows = await self.toolbox.journal.read(
            lambda database: database.rows(sql("latest_definition"), (organisation, name))
        )
        if not rows:
            raise StepFailed(
                f"no workflow {name} was submitted to {organisation} yet: submit it once, or name "
                "its file",
                is_final=True,
            )
        return bundle_from(str(rows[0][1])), str(rows[0][2])

    @property
    def _left_s(self) -> float:
        """Until its time is over; whoever waits longer is cancelled then."""
        return max(0.1, (self.deadline_ms - self.now_ms) / 1000)

    def _folder(self) -> Path:
        allowed, folder = self.toolbox.programs_folder, Path(self.claimed.folder or "/")
        if allowed is None:
            raise StepFailed(
                "this server runs no programs: start it with the folder whose workflows may, as in "
                "`comptroller up --workflows .`",
                is_final=True,
            )
        if not (self.claimed.folder and folder.resolve().is_relative_to(allowed)):
            raise StepFailed(
                f"the workflow was not submitted from {allowed}, where programs may be run",
                is_final=True,
            )
        return folder

    def _variables(self) -> dict[str, str]:
        """What every SDK looks for, and where the attempt stands."""
        url, place = self.toolbox.gateway_url, self.place
        trace = sha256(place.run.id.encode()).hexdigest()
        span = sha256(place.name.encode()).hexdigest()
        return {
            "OPENAI_BASE_URL": url,
            "OPENAI_API_KEY": self.secret,
            "ANTHROPIC_BASE_URL": url.removesuffix("/v1"),
            "ANTHROPIC_AUTH_TOKEN": self.secret,
            "ANTHROPIC_API_KEY": self.secret,
            "TRACEPARENT": f"00-{trace[:32]}-{span[:16]}-01",
            "COMPTROLLER_RUN": place.run.id,
            "COMPTROLLER_STEP": place.task.label,
            "COMPTROLLER_ATTEMPT": str(place.number),
        }

    def _log(self, line: str) -> None:
        _log.info("%s: %s", self.name, line)
        self.toolbox.live.say(self.place, "log", f"{line}\n")


def _ended(database: Database, run: str) -> Unread | None:
    """How a run ended; None where it has not."""
    rows: list[Row] = [*database.rows(sql("ended"), (run,))]
    status, output, error = rows[0]
    return end_told(run, status, output, error) if status in ENDED else None


def _output_of(ended: Mapping[str, Any]) -> Any:
    """Raises StepFailed."""
    if ended["status"] == "done":
        return ended["output"]
    # Who has cancelled it does not want another one.
    message = f"run {ended['run']} {ended['status']}: {ended['error']}"
    raise StepFailed(message, is_final=ended["status"] == "cancelled")
