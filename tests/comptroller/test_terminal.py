"""SIGHUP of a terminal that goes away is told from SIGHUP of somebody who wants a reload."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import Handlers

import pytest

from comptroller.settings import load_settings
from comptroller.up import _Stack

PROGRAM = """
import os, signal, sys
from comptroller.terminal import has_terminal
os.open(sys.argv[1], os.O_RDWR)  # the first terminal that a session's leader opens is its own
before = has_terminal()
signal.signal(signal.SIGHUP, lambda *_: os._exit(10 + 2 * before + has_terminal()))
print("ready", flush=True)
signal.pause()
"""


def test_a_terminal_that_has_gone_is_noticed() -> None:
    """By the process whose it was, at the signal that tells it."""
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, os.ttyname(theirs)],
        start_new_session=True,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        os.close(theirs)
        os.close(ours)
        assert process.wait(30) == 10 + 2 * True + False


@pytest.fixture
def inherited() -> Iterator[Callable[[Handlers], None]]:
    """Sets what this process does at SIGHUP, as whoever starts it may have."""
    before = signal.getsignal(signal.SIGHUP)

    def set_to(handler: Handlers) -> None:
        signal.signal(signal.SIGHUP, handler)

    yield set_to
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(
    ("had", "has", "at_start", "stops"),
    [
        (True, False, signal.SIG_DFL, True),
        (True, True, signal.SIG_DFL, False),
        (False, False, signal.SIG_DFL, False),
        (True, False, signal.SIG_IGN, False),
    ],
)
async def test_it_stops_where_its_terminal_has_gone(
    had: bool,
    has: bool,
    at_start: Handlers,
    stops: bool,
    monkeypatch: pytest.MonkeyPatch,
    inherited: Callable[[Handlers], None],
) -> None:
    """And reloads where it is still there, or never was, or where whoever started it had it ignore
    that, as `nohup` does."""
    inherited(at_start)
    monkeypatch.setattr("comptroller.up.has_terminal", lambda: had)
    stack = _Stack(load_settings(None, {}), None, {}, Path("/nowhere"))
    monkeypatch.setattr("comptroller.up.has_terminal", lambda: has)
    told = asyncio.Event()
    stack._hang_up(told)
    assert told.is_set() == stops
    assert bool(stack._reloading) == (not stops)
    for each in stack._reloading:
        each.cancel()


def test_who_has_none_has_none() -> None:
    """In a session of its own."""
    program = "import comptroller.terminal as t; raise SystemExit(t.has_terminal())"
    ran = subprocess.run([sys.executable, "-c", program], start_new_session=True, check=False)
    assert ran.returncode == 0
