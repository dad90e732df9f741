"""An attempt that asks nobody: it notes what it was asked for, and answers what it was given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.definition import Step
from orchestrator.kinds import Kind
from orchestrator.kinds.contract import Answer, Attempt, Signal


@dataclass
class FakeAttempt:
    """See Attempt. `answer`: of whatever it is asked for."""

    answer: Any = None
    model: str | None = "m"
    begun_ms: int = 1_000
    now_ms: int = 1_000
    deadline_ms: int = 61_000
    signal: Signal | None = None
    name: str = "r1/a/1"
    function_runner: tuple[str, ...] = ("python", "call.py")
    asked: list[tuple[Any, ...]] = field(default_factory=list)

    async def ask(self, path: str, body: Mapping[str, Any], call: str) -> Answer:
        """See Attempt."""
        answer: Answer = self._noted(path, body, call)
        return answer

    async def run_program(self, argv: tuple[str, ...], env: Mapping[str, str], given: Any) -> Any:
        """See Attempt."""
        return self._noted(argv, env, given)

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
        del callback
        answer: Answer = self._noted(method, url, headers, body, key)
        return answer

    async def run_workflow(self, name: str, given: Mapping[str, Any]) -> Any:
        """See Attempt."""
        return self._noted(name, given)

    def _noted(self, *asked: Any) -> Any:
        self.asked.append(asked)
        return self.answer


def action(**fields: Any) -> Kind:
    """Of a step."""
    return Step.model_validate({"id": "a", **fields}).action


def is_an_attempt(fake: FakeAttempt) -> Attempt:
    """For the type checker: it has all that there is."""
    return fake
