"""SIGHUP of a terminal that goes away is told from SIGHUP of somebody who wants a reload."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.parametrize(
    ("had", "has", "stops"), [(True, False, True), (True, True, False), (False, False, False)]
)
async def test_it_stops_where_its_terminal_has_gone(
    had: bool, has: bool, stops: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And reloads where it is still there, or never was."""
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
