"""Runs as answers have them. Outputs go out as they are stored: no depth of them is any matter."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from fastapi import Response

from budgets.policy import Limit
from budgets.session import OrganisationUnknown
from budgets.transport import LedgerUnavailable
from clickhouse.errors import StoreRefused
from console.parts import Parts
from console.records import RecordsAway
from gateway.standing import limit_shown
from orchestrator.running.comparing import Comparison, StepPair
from orchestrator.running.showing import RunLine, RunWhole, StepShown
from pricing import dollars

Costs = Mapping[tuple[bool, str], Mapping[str, int]]
"""By run (the right one of two) and step; empty where the records do not answer."""
_COUNTS = ("requests", "input_tokens", "output_tokens", "charged_nusd")


def answer(document: object) -> Response:
    """As JSON."""
    return Response(msgspec.json.encode(document), media_type="application/json")


def raw(text: str) -> Response:
    """What is JSON already."""
    return Response(text, media_type="application/json")


async def costs_of(
    parts: Parts, user: str, left: RunLine, right: RunLine | None = None
) -> Costs | None:
    """What is recorded until now; None where the records do not answer: runs go on without."""
    parameters: dict[str, str | int] = {
        "left": left.scope,
        "left_org": left.organisation,
        "right": right.scope if right else "",
        "right_org": right.organisation if right else "",
        "since_ms": min(each.created_ms for each in (left, right) if each),
    }
    try:
        rows = await parts.records.rows("run_costs", parameters, user)
    except (RecordsAway, StoreRefused):
        return None
    return {
        (bool(row["is_right"]), str(row["step"])): {name: int(row[name]) for name in _COUNTS}
        for row in rows
    }


async def limits_of(parts: Parts, run: RunWhole) -> list[dict[str, Any]]:
    """Each limit of the run, with what the ledger says of it; before the run has begun, and where
    the ledger does not answer, without."""
    line = run.line
    try:
        (standing,) = await parts.overview.standings(line.organisation, [line.scope])
    except (LedgerUnavailable, OrganisationUnknown):
        return _as_written(run.budget)
    if not standing.standings:
        return _as_written(run.budget)
    return [limit_shown(each) for each in standing.standings]


def _as_written(budget: Iterable[Limit]) -> list[dict[str, Any]]:
    shown = []
    for each in budget:
        is_usd = each.dimension == "usd"
        amount: dict[str, Any] = {"limit": dollars(each.amount) if is_usd else each.amount}
        if is_usd:
            amount["limit_nusd"] = each.amount
        models = {"models": list(each.models)} if each.models else {}
        shown.append({"dimension": each.dimension, "window": each.window, **models, **amount})
    return shown


def whole(run: RunWhole, limits: list[dict[str, Any]], costs: Costs | None) -> dict[str, Any]:
    """A run with its steps."""
    return {
        **line(run.line),
        "input": run.given,
        "limits": limits,
        "output": run.output,
        "has_output": run.has_output,
        "cost": _total(costs, is_right=False),
        "steps": [{**step(each), "cost": _cost(costs, each.id)} for each in run.steps],
    }


def line(run: RunLine) -> dict[str, Any]:
    """A run as a list has it."""
    return {**msgspec.structs.asdict(run), "duration_ms": _between(run.created_ms, run.ended_ms)}


def step(shown: StepShown) -> dict[str, Any]:
    """One step of it."""
    fields = msgspec.structs.asdict(shown)
    return {**fields, "duration_ms": _between(shown.begun_ms, shown.ended_ms)}


def compared(found: Comparison, costs: Costs | None) -> dict[str, Any]:
    """Two runs, and each step in both."""
    return {
        "left": {**line(found.left.line), "cost": _total(costs, is_right=False)},
        "right": {**line(found.right.line), "cost": _total(costs, is_right=True)},
        "steps": [_pair(each, costs) for each in found.steps],
    }


def _pair(pair: StepPair, costs: Costs | None) -> dict[str, Any]:
    return {
        "step": pair.step,
        "is_same": pair.is_same,
        "left": _side(pair.left, costs, is_right=False),
        "right": _side(pair.right, costs, is_right=True),
    }


def _side(shown: StepShown | None, costs: Costs | None, *, is_right: bool) -> Any:  # noqa: ANN401  # JSON
    if shown is None:
        return None
    return {**step(shown), "cost": _cost(costs, shown.id, is_right=is_right)}


def _cost(costs: Costs | None, name: str, *, is_right: bool = False) -> dict[str, Any] | None:
    """None where the records do not answer."""
    if costs is None:
        return None
    return _as_cost([costs.get((is_right, name), {})])


def _total(costs: Costs | None, *, is_right: bool) -> dict[str, Any] | None:
    if costs is None:
        return None
    return _as_cost([each for (side, _), each in costs.items() if side == is_right])


def _as_cost(rows: list[Mapping[str, int]]) -> dict[str, Any]:
    sums = {name: sum(each.get(name, 0) for each in rows) for name in _COUNTS}
    return {**sums, "charged_usd": dollars(sums["charged_nusd"])}


def _between(begun_ms: int | None, ended_ms: int | None) -> int | None:
    return None if begun_ms is None or ended_ms is None else max(0, ended_ms - begun_ms)
