"""A run that begins where another one has been: what is above a step is taken over, the rest is
done anew."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.bundle import bundle_from
from orchestrator.graph import StepGraph
from orchestrator.inputs import filled
from orchestrator.running.database import Database, sql
from orchestrator.running.deciding import Decision, NoSuchRun, NotPossible
from orchestrator.running.journal import marks
from orchestrator.running.submitting import Submission, Submit, Submitted, drawn_id


@dataclass(frozen=True, slots=True)
class Fork(Decision):
    """A new run of the same definition, with `given` in place of some of its input, from `step`
    on: that, and all that needs it, is done anew; results of other steps that are done are taken
    over, and cost nothing. `named`: under which the same fork is one run, empty for none. Raises
    NoSuchRun, NotPossible, NameTaken, DefinitionInvalid."""

    step: str = ""
    given: Mapping[str, Any] | None = None
    named: str = ""
    fork: str = field(default_factory=drawn_id)

    def __call__(self, database: Database, now_ms: int) -> Submitted:
        """See journal.Act."""
        rows = database.rows(sql("to_fork"), (self.run,))
        if not rows or self.organisation not in ("", rows[0][0]):
            raise NoSuchRun(self.run)
        organisation, scope, given, parent, document, folder = rows[0]
        if parent is not None:
            raise NotPossible(f"run {self.run} is inside of run {parent}: fork that one")
        bundle = bundle_from(str(document))
        anew = self._anew(StepGraph(bundle.workflow.steps), [s.id for s in bundle.workflow.steps])
        submission = Submission(
            organisation=str(organisation),
            scope=str(scope).rsplit("/", 2)[0],
            bundle=bundle,
            given=filled(bundle.workflow, {**_values(given), **(self.given or {})}),
            by=self.by,
            folder=str(folder),
            named=self.named,
            forked_from=self.run,
            forked_step=self.step,
            run=self.fork,
        )
        submitted = Submit(submission)(database, now_ms)
        if not submitted.is_new:
            return submitted
        statement = sql("copy_tasks").replace(":steps", marks(len(anew)))
        database.execute(statement, (submitted.run, self.run, *anew))
        return submitted

    def _anew(self, graph: StepGraph, steps: list[str]) -> list[str]:
        if self.step not in steps:
            raise NotPossible(
                f"{self.step} is no step of run {self.run}: it has {', '.join(steps)}"
            )
        return [each for each in steps if each == self.step or self.step in graph.above(each)]


def _values(text: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(str(text))
    return {name: each for name, each in values.items() if each is not None}
