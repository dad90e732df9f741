"""`python -m tests.mutants`: breaks the product in many ways, one at a time and never here, and
shows that tests notice. 1 where a mutant survives, or cannot be made any more.
"""

import argparse
import queue
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from tests.mutants.catalogue import MUTANTS, missing
from tests.mutants.checking import REST, Copy, DoesNotRun, Outcome
from tests.mutants.mutant import Mutant

JOBS = 2
T = TypeVar("T")
R = TypeVar("R")


def main() -> int:
    """0 where every mutant is killed."""
    asked = _arguments()
    mutants = [each for each in MUTANTS if asked.only in each.name]
    lost = {each.name: why for each in mutants if (why := missing(each))}
    for name, why in lost.items():
        sys.stdout.write(f"{name}: {why}\n")
    began_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="ct-mutants-") as folder:
            outcomes = _Bench(Path(folder)).judge([each for each in mutants if not missing(each)])
    except DoesNotRun as error:
        sys.stdout.write(f"{error}\n")
        return 1
    survived = [each.mutant.name for each in outcomes if not each.killed_by]
    sys.stdout.write(
        f"\n{len(outcomes)} mutants, {len(survived)} survived, {len(lost)} could not be made; "
        f"{time.monotonic() - began_s:.0f} s\n"
    )
    for name in survived:
        sys.stdout.write(f"no test notices that {name}\n")
    return 1 if survived or lost or not outcomes else 0


class _Bench:
    """Copies of the tree, one for each job at a time."""

    def __init__(self, folder: Path) -> None:
        self._copies: queue.SimpleQueue[Copy] = queue.SimpleQueue()
        for number in range(JOBS):
            self._copies.put(Copy(folder / str(number)))

    def judge(self, mutants: list[Mutant]) -> list[Outcome]:
        """All of them, after the same tests were green without any."""
        files = sorted({test for each in mutants for test in each.tests})
        self._must_be_green([(file,) for file in files])
        sys.stdout.write("| mutant | file | killed by | seconds |\n|---|---|---|---|\n")
        outcomes = self._all(lambda copy, each: copy.judged(each, each.tests), mutants, _say)
        left = [each.mutant for each in outcomes if not each.killed_by]
        if left:
            self._must_be_green([REST])
            again = self._all(lambda copy, each: copy.judged(each, REST), left, _say)
            outcomes = [each for each in outcomes if each.killed_by] + again
        return outcomes

    def _must_be_green(self, suites: list[tuple[str, ...]]) -> None:
        for red in self._all(lambda copy, suite: copy.is_red(suite), suites):
            if red:
                raise DoesNotRun(f"{red} is red without any mutant")

    def _all(
        self,
        work: Callable[[Copy, T], R],
        items: list[T],
        say: Callable[[R], None] = lambda _: None,
    ) -> list[R]:
        def on_a_copy(item: T) -> R:
            copy = self._copies.get()
            try:
                return work(copy, item)
            finally:
                self._copies.put(copy)

        with ThreadPoolExecutor(JOBS) as pool:
            results: Iterable[R] = pool.map(on_a_copy, items)
            done = []
            for result in results:
                say(result)
                done.append(result)
        return done


def _say(outcome: Outcome) -> None:
    mutant, killed_by = outcome.mutant, outcome.killed_by or "(not by the likely tests)"
    sys.stdout.write(f"| {mutant.name} | {mutant.file} | {killed_by} | {outcome.seconds:.1f} |\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants")
    parser.add_argument("--only", default="", help="mutants with this in their name")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
