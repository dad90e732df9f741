"""Processes that begin warm: forked off one that has imported what they need, and opened nothing.

A fresh interpreter spends most of its life on imports, and a suite starts hundreds. What they do
is a process's own all the same: it can be killed, and nothing of it is left in the test's.
"""

import functools
import multiprocessing
from typing import Any

PRELOADED = (
    "tests.recorder.crashing",
    "tests.recorder.workbench",
    "tests.comptroller.commands.forked",
)


@functools.cache
def warm() -> Any:
    """The context of multiprocessing that starts them; one for each process of the suite."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context
