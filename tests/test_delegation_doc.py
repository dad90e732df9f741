"""docs/delegation.md as a reader types it, block after block, against a real stack."""

import json
from pathlib import Path

from tests.gateway.processes import comptroller_up
from tests.typed import typed

TEXT = (Path(__file__).parent.parent / "docs" / "delegation.md").read_text(encoding="utf-8")


async def test_every_block_works_in_its_order(folder: Path) -> None:
    """In one shell that stops at the first failure; each shows what the text around it says."""
    async with comptroller_up(folder, admin=True, workers=2) as running:
        first, list_and_end, allotted, listed = await typed(TEXT, running, folder)
    assert json.loads(first)["usage"]["cost"] > 0
    decoder = json.JSONDecoder()
    page, end = decoder.raw_decode(list_and_end.strip())
    revoked = json.loads(list_and_end.strip()[end:])
    assert [each["status"] for each in page["keys"]] == ["active"]
    assert (revoked["id"], revoked["status"]) == (page["keys"][0]["id"], "revoked")
    made, end = decoder.raw_decode(allotted.strip())
    budget = json.loads(allotted.strip()[end:])
    assert made["allotment"] == {"usd": "0.40"}
    assert budget["scopes"][-1]["limits"][0]["allotted"] == "0.40"
    for name in ("planner", "helper", "writer"):
        assert name in listed
