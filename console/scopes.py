"""Scopes as they stand, for calls that begin something in them."""

from budgets.policy import ancestors
from console.errors import Conflict
from console.parts import Parts


async def check_open(parts: Parts, scope: str) -> None:
    """Nothing may begin there that could never spend. Raises Conflict."""
    states = await parts.overview.states(scope.split("/", 1)[0], list(ancestors(scope)))
    for each, state in states.items():
        if state in ("closing", "closed"):
            raise Conflict(f"scope {each} is closed for good", param="scope")
