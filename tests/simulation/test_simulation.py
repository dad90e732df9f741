"""The whole data plane under a seed: that it holds, that a seed is an episode, and that the judge
finds what is put in.

`make simulate` plays for longer. A failure prints its seed and the end of its trace.
"""

import secrets
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.simulation.episode import ANYTHING, EpisodeFailed, Theatre
from tests.simulation.ledger_server import MemoryServer
from tests.simulation.mutations import IN_CODE, IN_SCRIPTS, PLOTS, put_in
from tests.simulation.report import report

FIRST_SEED = 1
PLAY_S = 15.0
EPISODES_MIN = 20
FRESH_EPISODES = 10
EPISODES_TO_FIND = 150
# What a few hundred thousand steps see whatever the seed is.
COMMON = (
    *("rare:held, then granted", "rare:clamped", "rare:expired", "rare:overrun"),
    *("rare:confirmed from a spool", "rare:takeover of an organisation", "rare:compacted"),
    *("rare:granted again under its id", "rare:executed without a connection"),
    *("answer:reserve STALE", "answer:reserve WINDOW", "answer:reserve EXHAUSTED"),
    *("fault:kill a worker", "fault:ledger_reply_lost", "fault:store_unavailable"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[MemoryServer]:
    """A valkey-server that keeps nothing."""
    with tempfile.TemporaryDirectory(prefix="ct-sim-") as folder:
        server = MemoryServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


@pytest.fixture
def theatre(server: MemoryServer) -> Iterator[Theatre]:
    """With the product's own scripts."""
    theatre = Theatre(server.socket_path)
    try:
        yield theatre
    finally:
        theatre.close()


def test_the_invariants_hold(theatre: Theatre) -> None:
    """Nobody overspends, loses or repeats anything in some hundred thousand steps with faults of
    every kind, and what should be rare there has happened."""
    tally: Counter[str] = Counter()
    end_s, steps, episodes = time.monotonic() + PLAY_S, 0, 0
    while time.monotonic() < end_s or episodes < EPISODES_MIN:
        steps += theatre.play(FIRST_SEED + episodes, tally).steps
        episodes += 1
    if episodes >= 2 * EPISODES_MIN:  # a machine that is busy sees less
        seen = report(tally, steps, episodes, PLAY_S)
        assert all(tally[name] for name in COMMON), seen


def test_the_invariants_hold_for_a_fresh_seed(theatre: Theatre) -> None:
    """The same where nobody has looked before."""
    first = secrets.randbelow(10**9)
    print(f"the first seed is {first}")  # noqa: T201
    for seed in range(first, first + FRESH_EPISODES):
        theatre.play(seed, Counter())


def test_a_seed_is_an_episode(server: MemoryServer) -> None:
    """Played twice, after another one and on another stage, it goes the same way at every step."""
    digests = []
    for before in (3, 4):
        theatre = Theatre(server.socket_path)
        try:
            theatre.play(before, Counter())
            digests.append(theatre.play(7, Counter()))
        finally:
            theatre.close()
    assert digests[0] == digests[1]


@pytest.mark.parametrize("name", [*IN_SCRIPTS, *IN_CODE])
def test_what_is_put_in_is_found(server: MemoryServer, name: str) -> None:
    """A fault in a script or in the gateway's or recorder's code turns the simulation red."""
    with put_in(name) as scripts:
        theatre = Theatre(server.socket_path, scripts, PLOTS.get(name, ANYTHING))
        try:
            with pytest.raises(EpisodeFailed):
                _play_on(theatre)
        finally:
            theatre.close()


def _play_on(theatre: Theatre) -> None:
    for seed in range(FIRST_SEED, FIRST_SEED + EPISODES_TO_FIND):
        theatre.play(seed, Counter())
