"""What runs of a workflow have cost, from a running stack, for `comptroller run check`: where none
is reachable, nobody knows."""

import os
from collections.abc import Mapping
from typing import Any

from comptroller.commands.admin import data_folder
from comptroller.variables import ADMIN_TOKEN_VARIABLE

FIELDS = ("p50_nusd", "p50_usd", "p95_nusd", "p95_usd")


def known_costs(
    workflow: str, organisation: str, admin_url: str, data_dir: str | None
) -> Mapping[str, Any] | None:
    """As the admin API says it; None without one."""
    from comptroller.admin_client import AdminAbsent, AdminClient, AdminRefused, admin_address

    token = os.environ.get(ADMIN_TOKEN_VARIABLE, "")
    try:
        with AdminClient(admin_address(admin_url, token, data_folder(data_dir))) as client:
            return client.workflow_costs(workflow, organisation)
    except (AdminAbsent, AdminRefused):
        return None


def with_costs(document: Mapping[str, Any], costs: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a check says, and beside it what runs have cost; null where nobody knows."""
    found = costs or {}
    steps = {each["step"]: each for each in found.get("steps", ())}
    # A step that no run has spent anything in has cost nothing, if there were runs.
    unspent = dict(zip(FIELDS, (0, "0.00", 0, "0.00"), strict=True)) if found.get("runs") else {}
    return {
        **document,
        "steps": [
            {**each, **_quantiles(steps.get(each["id"], unspent))} for each in document["steps"]
        ],
        "runs": found.get("runs"),
        **_quantiles(found),
    }


def _quantiles(found: Mapping[str, Any]) -> dict[str, Any]:
    return {name: found.get(name) for name in FIELDS}
