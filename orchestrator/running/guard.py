"""`python guard.py MARK`: waits until its standard input ends, then ends every process that has
COMPTROLLER_GUARD=MARK in its environment.

The orchestrator holds the other end of that pipe, and nobody else: it closes when the orchestrator
is gone, however it went. To ask the kernel for a signal then (PR_SET_PDEATHSIG) would reach the
direct child alone, is lost when that starts a setuid program, and costs a fork of the whole
orchestrator instead of a vfork. The mark is inherited by all that a program starts, also by what
has left its group; who clears its environment, or may not be looked at (setuid), is not found.
A child between vfork and exec holds the pipe, too, so that none is missed. Linux.
"""

import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "COMPTROLLER_GUARD"
GRACE_S = 5.0
GIVE_UP_S = 10.0
_LOOK_EVERY_S = 0.05


def main(mark: str) -> None:
    """Returns when it has found none left."""
    # The only end that it waits for: a pipe has no other event.
    while os.read(0, 1024):
        pass
    wanted = f"{VARIABLE}={mark}".encode()
    begun_s, asked = time.monotonic(), set[int]()
    while found := _marked(wanted):
        gone_s = time.monotonic() - begun_s
        for pid, handle in found.items():
            if gone_s > GRACE_S:
                _tell(handle, signal.SIGKILL)
            elif pid not in asked:
                asked.add(pid)
                _tell(handle, signal.SIGTERM)
        # Their ends are events of their handles; others may have begun meanwhile.
        select.select([*found.values()], [], [], _LOOK_EVERY_S)
        for handle in found.values():
            os.close(handle)
        if gone_s > GIVE_UP_S:
            return


def _marked(wanted: bytes) -> dict[int, int]:
    """Handles (pidfd) by process. They are taken before the environment is read: a number that
    was given to another process meanwhile is then not signalled."""
    found = {}
    for each in Path("/proc").iterdir():
        if not each.name.isdecimal():
            continue
        try:
            handle = os.pidfd_open(int(each.name))
        except OSError:
            continue
        try:
            environment = (each / "environ").read_bytes().split(b"\0")
        except OSError:  # it has ended, or is another user's
            environment = []
        if wanted in environment:  # that of what has ended is empty
            found[int(each.name)] = handle
        else:
            os.close(handle)
    return found


def _tell(handle: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


if __name__ == "__main__":
    main(sys.argv[1])
