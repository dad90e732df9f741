"""`python -m bench`: runs the matrix, interleaved with the reference, and prints the table.

Ratios are between measurements that follow each other within seconds, because this machine in
an hour is another machine. Everything is started here, on the loopback, and ended here.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from bench import cases, gateway, reference
from bench.cases import CASES, Case
from bench.children import BenchFailed, Child
from bench.measure import Sample, Target, measure
from bench.report import BUDGETS, DIRECT, GATEWAY, PLAIN, Results, table, write_json
from budgets.embedded import EmbeddedServerFailed
from budgets.transport import LedgerUnavailable

REPETITIONS = 3
PATH = "/v1/chat/completions"
NGINX_STREAMED_PATH = "/streamed"
SECONDS_MAX, QUICK_SECONDS_MAX = 300, 60
QUICK_DIVISOR = 4


class _Overdue(Exception):
    """The whole run took too long."""


def main() -> int:
    """Exit code 0 with a table, 1 with a reason."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests, once, below a minute")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every sample to this file")
    parser.add_argument("--only", metavar="TEXT", default="", help="cases whose name contains it")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything started is ended
    _bound(QUICK_SECONDS_MAX if arguments.quick else SECONDS_MAX)
    chosen = tuple(case for case in CASES if arguments.only in case.name)
    try:
        results = run(
            tuple(case.scaled(QUICK_DIVISOR) for case in chosen) if arguments.quick else chosen,
            1 if arguments.quick else REPETITIONS,
        )
    except (BenchFailed, EmbeddedServerFailed, LedgerUnavailable, _Overdue) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    print(table(results))
    if arguments.json:
        write_json(results, arguments.json)
    return 0


def run(chosen: tuple[Case, ...], repetitions: int) -> Results:
    """Starts everything and measures. Raises BenchFailed."""
    load_before, began_at = os.getloadavg(), time.monotonic()
    skipped = reference.missing()
    samples: dict[tuple[str, str], list[Sample]] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        load = stack.enter_context(Child("load"))
        targets = _started(stack, folder, skipped)
        for repetition in range(repetitions):
            for case in chosen:
                print(f"{repetition + 1}/{repetitions}  {case.name}", file=sys.stderr)
                for target in targets:
                    if target.name != DIRECT or case.concurrency == 1:
                        sample = measure(load, target, case)
                        samples.setdefault((case.name, target.name), []).append(sample)
        seconds = time.monotonic() - began_at
        return Results(samples, chosen, load_before, os.getloadavg(), seconds, skipped)


def _started(stack: contextlib.ExitStack, folder: Path, skipped: str) -> list[Target]:
    provider_port = stack.enter_context(Child("upstream")).first["port"]
    product = stack.enter_context(gateway.running(provider_port, folder / "g"))
    stack.enter_context(Child("drain", str(product.socket_path), cases.ORGANISATION))
    targets = [
        Target(GATEWAY, product.port, PATH, PATH, product.gateway, product.ledger),
        Target(DIRECT, provider_port, PATH, PATH),
    ]
    if not skipped:
        nginx = stack.enter_context(reference.running(provider_port, folder / "n"))
        stack.enter_context(Child("drain", str(nginx.socket_path), cases.ORGANISATION))
        streamed = NGINX_STREAMED_PATH
        targets += [
            Target(BUDGETS, nginx.budgets_port, PATH, streamed, nginx.nginx, nginx.ledger),
            Target(PLAIN, nginx.plain_port, PATH, streamed, nginx.nginx),
        ]
    return targets


def _bound(seconds: int) -> None:
    """Ends the run after this long, wherever it hangs."""

    def end(*_: object) -> None:
        raise _Overdue(f"not ended after {seconds} s: is something else running?")

    signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)


if __name__ == "__main__":
    sys.exit(main())
