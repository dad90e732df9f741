"""Stops processes so that they really stand."""

import contextlib
import os
import signal
import time
from pathlib import Path

STANDS_S_MAX = 30


def pause(pid: int) -> None:
    """SIGSTOP to a process, until SIGCONT. The signal takes effect when one of the threads is next
    run: on a busy machine the others go on working for a while, so this waits until all stand."""
    os.kill(pid, signal.SIGSTOP)
    given_up_s = time.monotonic() + STANDS_S_MAX
    while not _stands(pid):  # nothing tells of it for a process that is not our child
        assert time.monotonic() < given_up_s, f"{pid} does not stop"
        time.sleep(0.001)


def _stands(pid: int) -> bool:
    states = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended
            states.append((task / "stat").read_text().rpartition(") ")[2][0])
    return all(each in "TZX" for each in states)
