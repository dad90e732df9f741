"""Kills a process with SIGKILL before every single line of the code under test, one after another.

What is tried lives in a function of a test module; a child without threads forks once for each
line, so that the test's own process, which may hold an engine, never forks.
"""

import importlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

POINTS_MAX = 1_000
_RETURNED = 0


def killed_before_every_line(test_module: str, case: str, folder: Path) -> int:
    """Runs `<case>_before`, `<case>` (killed) and `<case>_after` of a test module in fresh folders
    below `folder`; how many lines there were. `<case>_files` names the traced files, and
    `<case>_after(folder, returned)` asserts; `returned` says that the kill did not come."""
    command = [sys.executable, "-m", "tests.recorder.killing", test_module, case, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def _main(test_module: str, case: str, folder: Path) -> None:
    vars(os)["fsync"] = lambda _: None  # a kill loses nothing that was written
    module = importlib.import_module(test_module)
    before, act = getattr(module, f"{case}_before"), getattr(module, case)
    after, files = getattr(module, f"{case}_after"), getattr(module, f"{case}_files")
    for point in range(1, POINTS_MAX):
        place = folder / str(point)
        place.mkdir()
        before(place)
        returned = _returns(partial(act, place), files, point)
        after(place, returned)
        if returned:
            print(point - 1)  # noqa: T201  # read by the test
            return
    raise AssertionError(f"{case} has more than {POINTS_MAX} lines")


def _returns(act: Callable[[], Any], files: tuple[str, ...], point: int) -> bool:
    """Whether `act` came to its end: it is killed before its line number `point` in the files."""
    child = os.fork()
    if child == 0:
        lines = 0

        def trace(frame: FrameType, event: str, _: object) -> Any:
            nonlocal lines
            if frame.f_code.co_filename not in files:
                return None
            if event == "line":
                lines += 1
                if lines == point:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        act()
        os._exit(_RETURNED)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False
    assert os.WEXITSTATUS(status) == _RETURNED, "the case raised: see above"
    return True


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
