"""Runs for tests, as they are submitted."""

from typing import Any

from orchestrator.bundle import read_bundle
from orchestrator.running.submitting import Submission

SLEEPS: dict[str, Any] = {"sleep": "1s"}


def definition(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Of a workflow with these steps; one that sleeps where there are none."""
    return {
        "name": "w",
        "budget": [{"usd": "1.00"}],
        "steps": list(steps) or [{"id": "a", **SLEEPS}],
        **more,
    }


def submission(
    *steps: dict[str, Any],
    scope: str = "acme/p",
    given: dict[str, Any] | None = None,
    named: str = "",
    folder: str = "",
    start_ms: int = 0,
    files: dict[str, Any] | None = None,
    **more: Any,
) -> Submission:
    """Of a workflow with these steps."""
    return Submission(
        organisation=scope.split("/", 1)[0],
        scope=scope,
        bundle=read_bundle({"workflow": definition(*steps, **more), "files": files or {}}),
        given=given or {},
        by="tester",
        folder=folder,
        named=named,
        start_ms=start_ms,
    )
