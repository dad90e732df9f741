"""Runs the programs of steps: each in a session of its own, with its input and output in files of a
private folder, and gone with its group when it ends, is cancelled, or the orchestrator is no more.
"""

import json
import os
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.kinds.contract import StepFailed
from orchestrator.running import guard
from orchestrator.running.environment import environment_of
from orchestrator.running.printed import Errors, Head, without
from orchestrator.running.processes import Process

FUNCTION_RUNNER = (sys.executable, str(Path(__file__).with_name("call.py")))
"""See Attempt.function_runner."""
OUTPUT_BYTES_MAX = 2**20
"""Of an output: what it wrote into its file, or printed. What is printed beyond is thrown away."""
INPUT_VARIABLE = "COMPTROLLER_INPUT"
OUTPUT_VARIABLE = "COMPTROLLER_OUTPUT"
_TOO_LONG = (
    f"its output has more than {OUTPUT_BYTES_MAX} bytes: write it into a file, and answer its name"
)


@dataclass(frozen=True, slots=True)
class Program:
    """`argv`: without a shell; `folder`: where it works; `env`: of the step; `variables`: of the
    attempt, with its key; `given`: its input, JSON; `secrets`: texts that no log, no message and
    no output may have."""

    argv: tuple[str, ...]
    folder: Path
    env: Mapping[str, str]
    variables: Mapping[str, str]
    given: Any
    secrets: tuple[str, ...] = ()


class Programs:
    """All that one orchestrator runs. Close it when none runs any more."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._guard: subprocess.Popen[bytes] | None = None

    async def run(self, program: Program, log: Callable[[str], None]) -> Any:
        """Its output: the JSON value in its file, or else what it printed, as JSON where it is.
        `log` takes what it prints to stderr, by line. Raises StepFailed. Cancelled, it has ended
        all of the program's group when it raises."""
        self._guarded()
        # Both files are small, and in memory on most machines: to hand them to a thread costs more.
        private = Path(tempfile.mkdtemp(prefix="comptroller-step-"))
        try:
            return await self._run_in(private, program, log)
        finally:
            shutil.rmtree(private, ignore_errors=True)

    def close(self) -> None:
        """Ends what has left its group, too; waits for that."""
        process, self._guard = self._guard, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()

    async def _run_in(self, private: Path, program: Program, log: Callable[[str], None]) -> Any:
        given, output = private / "input.json", private / "output.json"
        given.write_text(json.dumps(program.given), encoding="utf-8")
        own = {
            **program.variables,
            INPUT_VARIABLE: str(given),
            OUTPUT_VARIABLE: str(output),
            guard.VARIABLE: self._mark,
        }
        environment = environment_of(os.environ, program.env, own)
        printed, errors = Head(OUTPUT_BYTES_MAX), Errors(program.secrets, log)
        process = _started(program, environment, printed, errors)
        code = await process.end()
        errors.end()
        if code != 0:
            raise StepFailed(f"{_called(program)} {_ended(code)}{errors.last()}")
        return _output(output, printed, program.secrets)

    def _guarded(self) -> None:
        """There is one that lives before anything is started."""
        if self._guard is not None and self._guard.poll() is None:
            return
        if self._guard is not None:
            self.close()  # somebody has killed it
        self._guard = subprocess.Popen(
            [sys.executable, "-I", "-S", str(Path(guard.__file__)), self._mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={},
            cwd="/",
            start_new_session=True,
        )


def _started(
    program: Program, environment: Mapping[str, str], printed: Head, errors: Errors
) -> Process:
    name = _called(program)
    try:
        return Process(program.argv, program.folder, environment, printed.take, errors.take)
    except FileNotFoundError:
        if not program.folder.is_dir():
            message = f"the workflow's folder {program.folder} is gone"
        else:
            message = (
                f"there is no program {name}: install it where PATH finds it, or write its path"
            )
    except PermissionError:
        message = f"{name} may not be run: is it a program, and executable (chmod +x)?"
    except ValueError:
        message = f"an argument or variable of {name} has a zero byte, or half a character"
    except OSError as error:
        message = f"{name} cannot be started: {error.strerror}"
        raise StepFailed(message) from None  # too many processes, no memory: that may end
    raise StepFailed(message, is_final=True)


def _called(program: Program) -> str:
    """The program's name; its arguments may hold what a model said."""
    return program.argv[0][:200]


def _ended(code: int) -> str:
    if code > 0:
        return f"ended with {code}"
    return f"was ended by signal {-code}"


def _output(file: Path, printed: Head, secrets: Sequence[str]) -> Any:
    """Raises StepFailed."""
    written = _written(file)
    if written is not None:
        try:
            return json.loads(without(secrets, written))
        except (ValueError, RecursionError):
            raise StepFailed(f"what it wrote to {OUTPUT_VARIABLE} is no JSON") from None
    if printed.is_over:
        raise StepFailed(_TOO_LONG, is_final=True)
    text = without(secrets, bytes(printed.data)).decode("utf-8", "replace")
    try:
        return json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        return text.removesuffix("\n")


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not in JSON")


def _written(file: Path) -> bytes | None:
    """What is in a regular file there, None where there is none or nothing. Raises StepFailed."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError:
        raise StepFailed(f"{OUTPUT_VARIABLE} is no file that can be read") from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise StepFailed(f"{OUTPUT_VARIABLE} is no file that can be read", is_final=True)
    with os.fdopen(opened, "rb") as stream:
        data = stream.read(OUTPUT_BYTES_MAX + 1)
    if len(data) > OUTPUT_BYTES_MAX:
        raise StepFailed(_TOO_LONG, is_final=True)
    return data or None
