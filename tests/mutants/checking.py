"""A copy of the tree in which mutants are made, one after the other, and what its tests say."""

import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.catalogue import ROOT
from tests.mutants.mutant import Mutant

RUN_S_MAX = 300
TEST_S_MAX = 60
_LEFT_OUT = shutil.ignore_patterns(
    *(".git", ".venv", ".clients", "__pycache__", "*_cache", ".comptroller", ".hypothesis"),
    *("dist", "build"),
)
_RED = re.compile(r"^(?:FAILED|ERROR) (tests/.+?)(?: - .*)?$", re.MULTILINE)
_PYTEST = (sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "-x")
_SIMULATION = (sys.executable, "-m", "tests.simulation", "--seed", "1", "--seconds", "20")
# For those that the likely tests let pass.
REST = (
    "tests/budgets",
    "tests/gateway/test_endings.py",
    "tests/gateway/test_endings_streams.py",
    *("--ignore-glob", "*test_redispy_*", "--ignore-glob", "*test_safety*"),
)
SIMULATED = "the simulation"


class DoesNotRun(RuntimeError):
    """The tests came to no verdict: a copy that does not load, or tests that are not there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`killed_by` is the first test that went red; empty where the mutant survived."""

    mutant: Mutant
    killed_by: str
    seconds: float


class Copy:
    """The whole tree, without what is made from it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)

    def is_red(self, tests: tuple[str, ...]) -> str:
        """The first of these tests that fails, with those of REST also the simulation; empty where
        none does. Raises DoesNotRun."""
        return self._failed(tests) or (self._failed_simulation() if tests == REST else "")

    def _failed(self, tests: tuple[str, ...]) -> str:
        code, output = self._ran(*_PYTEST, "-o", f"timeout={TEST_S_MAX}", *tests)
        red = _RED.search(output)
        if code == 0:
            return ""
        if code != 1 or red is None:
            raise DoesNotRun(f"{' '.join(tests)} ended with {code}:\n{output[-3000:]}")
        return red[1]

    def _failed_simulation(self) -> str:
        code, output = self._ran(*_SIMULATION)
        if code not in (0, 1) or (code == 1 and "shows it again" not in output):
            raise DoesNotRun(f"the simulation ended with {code}:\n{output[-3000:]}")
        return SIMULATED if code else ""

    def judged(self, mutant: Mutant, tests: tuple[str, ...]) -> Outcome:
        """Makes the mutant, and lets these tests look at it. Raises DoesNotRun."""
        file, began_s = self._folder / mutant.file, time.monotonic()
        whole = file.read_text(encoding="utf-8")
        assert whole.count(mutant.old) == 1, mutant
        file.write_text(whole.replace(mutant.old, mutant.new), encoding="utf-8")
        try:
            killed_by = self.is_red(tests)
        except DoesNotRun as error:
            raise DoesNotRun(f"{mutant.name}: {error}") from None
        finally:
            file.write_text(whole, encoding="utf-8")
        return Outcome(mutant, killed_by, time.monotonic() - began_s)

    def _ran(self, *command: str) -> tuple[int, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(self._folder),
            "PYTHONDONTWRITEBYTECODE": "1",  # a mutant must not meet what was compiled before
        }
        try:
            done = subprocess.run(
                command,
                cwd=self._folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=RUN_S_MAX,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DoesNotRun(f"{' '.join(command)} does not end: {error.output}") from None
        return done.returncode, done.stdout + done.stderr
