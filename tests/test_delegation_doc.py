"""docs/delegation.md as a reader types it, block after block, against a real stack."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

from tests.gateway.processes import comptroller_up

TEXT = (Path(__file__).parent.parent / "docs" / "delegation.md").read_text(encoding="utf-8")
MARK = "=== next block"


async def test_every_block_works_in_its_order(folder: Path) -> None:
    """In one shell that stops at the first failure; each shows what the text around it says."""
    blocks = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    async with comptroller_up(folder, admin=True, workers=2) as running:
        script = f"\necho '{MARK}'\n".join(["set -euo pipefail", *blocks])
        shell = await asyncio.create_subprocess_exec(
            *("bash", "-c", script.replace(":4000", f":{running.port}")),
            cwd=folder,
            env={
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "COMPTROLLER_DATA_DIR": str(running.data_dir),
                "NO_PROXY": "127.0.0.1",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        stdout, _ = await asyncio.wait_for(shell.communicate(), 60)
    shown = stdout.decode()
    assert shell.returncode == 0, shown
    first, list_and_end, allotted, listed = shown.split(MARK)[1:]
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
