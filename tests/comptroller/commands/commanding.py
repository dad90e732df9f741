"""Commands as people type them: the installed `comptroller`, with nothing of this machine's
environment but PATH."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPTROLLER = str(Path(sys.executable).parent / "comptroller")
ENDED_S_MAX = 60


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Its output as one JSON value."""
        return json.loads(self.out)

    @property
    def documents(self) -> list[Any]:
        """Its output as one JSON value in each line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def next_command(self) -> str:
        """What it says to type next; the last line of its complaint."""
        last = self.err.rstrip("\n").rpartition("\n")[2]
        assert last.startswith("try: "), self.err
        return last.removeprefix("try: ")


async def comptroller(
    *arguments: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> Ran:
    """`comptroller <arguments>`, to its end."""
    return await run(COMPTROLLER, *arguments, stdin=stdin, environment=environment)


async def run(
    *command: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
) -> Ran:
    """A process with these variables and PATH, to its end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PATH": os.environ["PATH"], **(environment or {})},
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(stdin), ENDED_S_MAX)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
