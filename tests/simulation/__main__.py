"""`python -m tests.simulation --seed N --steps M --seconds S`: one seed after the other."""

import argparse
import secrets
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.simulation.episode import EpisodeFailed, Theatre
from tests.simulation.ledger_server import MemoryServer
from tests.simulation.report import report, unseen

FAR = 2**62
STEPS_FOR_EVERYTHING = 10_000_000  # by then every rare path has been seen, or something is wrong


def main() -> int:
    """0 where everything held; 1 with the seed and its trace where not."""
    asked = _arguments()
    say = sys.stdout.write
    tally: Counter[str] = Counter()
    steps = episodes = failed = 0
    begun_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ct-sim-") as folder:
        server = MemoryServer(Path(folder))
        server.start()
        theatre = Theatre(server.socket_path)
        try:
            seed = asked.seed
            while steps < asked.steps and episodes < asked.episodes:
                if time.monotonic() - begun_s > asked.seconds:
                    break
                try:
                    outcome = theatre.play(seed, tally)
                    steps += outcome.steps
                    if asked.verbose:
                        say(f"{outcome}\n")
                except EpisodeFailed as error:
                    steps += error.steps
                    failed += 1
                    say(f"{error}\n" if not asked.go_on else f"seed {seed}: {error.reason}\n")
                    if not asked.go_on:
                        break
                sys.stdout.flush()
                episodes += 1
                seed += 1
        finally:
            theatre.close()
            server.stop()
    say(report(tally, steps, episodes, time.monotonic() - begun_s))
    return 1 if failed or (steps > STEPS_FOR_EVERYTHING and unseen(tally)) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**9), help="of the first")
    parser.add_argument("--steps", type=int, default=FAR, help="at least so many, then the end")
    parser.add_argument("--seconds", type=float, default=FAR, help="of real time, about")
    parser.add_argument("--episodes", type=int, default=FAR)
    parser.add_argument("--go-on", action="store_true", help="after a failure, in one line each")
    parser.add_argument("--verbose", action="store_true", help="a line for each episode")
    asked = parser.parse_args()
    if asked.steps == asked.seconds == asked.episodes == FAR:
        asked.seconds = 60.0
    sys.stdout.write(f"the first seed is {asked.seed}\n")
    return asked


if __name__ == "__main__":
    sys.exit(main())
