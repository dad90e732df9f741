"""The shell blocks of a document, typed as a reader types them."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.gateway.processes import Running

_MARK = "=== next block"


async def typed(text: str, running: Running, folder: Path) -> list[str]:
    """What each block shows, all in one shell that stops at the first failure."""
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    script = f"\necho '{_MARK}'\n".join(["set -euo pipefail", *blocks])
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
    return shown.split(_MARK)[1:]
