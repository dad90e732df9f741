"""Commands in processes of their own that are forked off a warm one: a tenth of the CPU of a fresh
interpreter, which imports for half a second to ask one question.

A command gets its arguments, variables, standard streams and signals as from a shell. That the
installed script works, that `--help` is quick and a pipe may close is for
`test_command_line.py`, which starts it as people do.
"""

import asyncio
import importlib
import io
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.reduction import DupFd
from pathlib import Path
from typing import IO, Any

from comptroller import cli
from tests.comptroller.commands.commanding import ENDED_S_MAX, Ran
from tests.forking import warm

# What commands import when they are called.
for _module in (
    "clickhouse.sqltext",
    "clickhouse_connect",
    "comptroller.admin_client",
    "comptroller.commands.figures",
    "comptroller.commands.follow",
    "comptroller.commands.frame",
    "comptroller.commands.known_costs",
    "comptroller.commands.machine",
    "comptroller.commands.run_frame",
    "comptroller.commands.watch",
    "comptroller.commands.stack",
    "comptroller.price_documents",
    "comptroller.reading",
    "comptroller.settings",
    "comptroller.verifying",
    "comptroller.workflow_files",
    "httpcore",
    "httpx",
    "orchestrator.forecast",
    "orchestrator.schema",
    "pricing.catalog",
    "pydantic",
    "recorder.verification",
    "rich.console",
    "rich.live",
    "rich.table",
):
    importlib.import_module(_module)


async def forked(
    *arguments: str,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    printed: Path | None = None,
) -> Ran:
    """`comptroller <arguments>` with these variables and PATH, to its end. `printed`: a file in
    which its output can be read while it runs."""
    with (
        tempfile.TemporaryFile() as given,
        tempfile.TemporaryFile() if printed is None else printed.open("w+b") as out,
        tempfile.TemporaryFile() as err,
    ):
        given.write(stdin)
        given.seek(0)
        variables = {"PATH": os.environ["PATH"], **(environment or {})}
        code = await to_its_end(arguments, variables, given, out, err)
        return Ran(code, _all_of(out), _all_of(err))


async def to_its_end(
    arguments: tuple[str, ...], variables: dict[str, str], *streams: IO[bytes] | int
) -> int:
    """The exit code of a command with exactly these variables and these three streams."""
    numbers = [each if isinstance(each, int) else each.fileno() for each in streams]
    process = await asyncio.to_thread(_started, arguments, variables, numbers)
    try:
        await asyncio.to_thread(process.join, ENDED_S_MAX)
        assert process.exitcode is not None, f"{arguments} does not end"
        return int(process.exitcode)
    finally:
        if process.exitcode is None:
            process.kill()
            process.join()
        process.close()


def _started(arguments: tuple[str, ...], variables: dict[str, str], numbers: list[int]) -> Any:
    process = warm().Process(target=_Command(arguments, variables, numbers))
    process.start()
    return process


class _Command:
    """What the forked process does. Its streams are handed over while the process starts."""

    def __init__(
        self, arguments: tuple[str, ...], variables: dict[str, str], numbers: list[int]
    ) -> None:
        self._arguments = arguments
        self._variables = variables
        self._numbers = numbers

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_numbers": [DupFd(each) for each in self._numbers]}

    def __call__(self) -> None:
        """As the installed script, in an interpreter that was started with these variables."""
        for target, each in enumerate(self._numbers):
            number = each.detach()  # type: ignore[attr-defined]  # a DupFd by now
            os.dup2(number, target)
            os.close(number)
        os.environ.clear()
        os.environ.update(self._variables)
        sys.stdin, sys.stdout, sys.stderr = _text(0, "r"), _text(1, "w"), _text(2, "w")
        sys.argv = ["comptroller", *self._arguments]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        cli.main()


def _text(number: int, mode: str) -> io.TextIOWrapper:
    """A standard stream as an interpreter opens it where no locale is set: UTF-8, and what is none
    goes through."""
    errors = "backslashreplace" if number == 2 else "surrogateescape"
    line_buffering = number == 2 or os.isatty(number)
    raw = open(number, f"{mode}b", closefd=False)  # noqa: SIM115  # until the process ends
    return io.TextIOWrapper(raw, encoding="utf-8", errors=errors, line_buffering=line_buffering)


def _all_of(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode()
