"""CPU per request of the gateway and its ledger, beside nginx doing the same job, in one run.

`python -m bench [--quick] [--json FILE]`. Figures on a shared machine are noisy: what counts is the
ratio of two medians from the same run, and every figure comes with its spread and the load.
"""

import argparse
import json
import os
import statistics
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.cases import CASES, CLIENT_SECRET, ORGANISATION, STREAM_CHUNKS, Case
from bench.children import BenchFailed, Child
from bench.gateway import Gateway
from bench.meter import Group, read_group
from bench.reference import Reference, missing

ROUNDS = 3
JOB_TIMEOUT_S = 90.0
QUICK_DIVISOR = 4


@dataclass(frozen=True, slots=True)
class Target:
    """Something that serves the requests: where, and whose CPU is its bill."""

    name: str
    port: int
    path: str
    front: Group
    ledger: Group | None


@dataclass(frozen=True, slots=True)
class Figure:
    """One measurement of one case on one target; microseconds are per request, `per_chunk_us` of
    the front alone."""

    case: str
    target: str
    front_us: float
    ledger_us: float
    per_chunk_us: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    rss_mb: float


def main() -> None:
    """Measures, prints, and writes JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer requests, one round")
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    arguments = parser.parse_args()
    load_before = os.getloadavg()
    figures = measure(quick=arguments.quick)
    print(f"load average before {load_before[0]:.2f}, after {os.getloadavg()[0]:.2f}")
    print_table(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in figures], indent=1))


def measure(*, quick: bool) -> list[Figure]:
    """Every case on every target, in turn, so that a drift of the machine meets all of them."""
    why_not = missing()
    if why_not:
        print(f"skipped: {why_not}")
    figures = []
    with ExitStack() as stack:
        upstream = stack.enter_context(Child("upstream")).first["port"]
        load = stack.enter_context(Child("load"))
        gateway = stack.enter_context(Gateway(upstream))
        stack.enter_context(Child("drain", str(gateway.socket_path), ORGANISATION))
        chat = "/v1/chat/completions"
        targets = [Target("comptroller", gateway.port, chat, gateway.workers, gateway.ledger)]
        direct = [Target("direct", upstream, chat, Group(os.getpid()), None)]
        if not why_not:
            nginx = stack.enter_context(Reference(upstream))
            stack.enter_context(Child("drain", str(nginx.socket_path), ORGANISATION))
            targets.append(Target("nginx+lua", nginx.port, chat, nginx.nginx, nginx.ledger))
            plain = "/plain/chat/completions"
            targets.append(Target("nginx plain", nginx.port, plain, nginx.nginx, None))
        for case in CASES:
            scaled = case.scaled(QUICK_DIVISOR) if quick else case
            for _ in range(1 if quick else ROUNDS):
                served = targets + (direct if case.concurrency == 1 else [])
                figures += [_measured(load, scaled, each) for each in served if _fits(case, each)]
    return figures


def _fits(case: Case, target: Target) -> bool:
    """The reference with budgets buffers whole answers: it is for those only."""
    return not (case.streamed and target.name == "nginx+lua")


def _measured(load: Child, case: Case, target: Target) -> Figure:
    _run(load, case, target, case.warm_up)
    front, ledger = read_group(target.front), _ledger_ns(target)
    seen = _run(load, case, target, case.requests)
    used_ns, ledger_ns = read_group(target.front).cpu_ns - front.cpu_ns, _ledger_ns(target) - ledger
    requests = seen["requests"]
    chunks = requests * STREAM_CHUNKS
    return Figure(
        case.name,
        target.name,
        used_ns / requests / 1e3,
        ledger_ns / requests / 1e3,
        used_ns / chunks / 1e3 if case.streamed else 0.0,
        requests / seen["seconds"],
        seen["p50_ms"],
        seen["p99_ms"],
        front.rss_bytes / 2**20,
    )


def _ledger_ns(target: Target) -> int:
    return read_group(target.ledger).cpu_ns if target.ledger else 0


def _run(load: Child, case: Case, target: Target, requests: int) -> dict[str, Any]:
    job = {
        "port": target.port,
        "path": target.path,
        "secret": CLIENT_SECRET,
        "body": case.body().decode(),
        "concurrency": case.concurrency,
        "requests": requests,
        "streamed": case.streamed,
    }
    seen = load.ask(job, JOB_TIMEOUT_S)
    if seen["failures"]:
        raise BenchFailed(f"{target.name}, {case.name}: {seen['failures'][0]}")
    return seen


def print_table(figures: list[Figure]) -> None:
    """Medians with their spread, and the ratio to nginx with LuaJIT (streams: to nginx alone)."""
    print(
        f"{'case':14}{'target':13}{'front us':>20}{'ledger us':>11}{'sum us':>9}{'us/chunk':>10}"
        f"{'req/s':>8}{'p50 ms':>9}{'p99 ms':>9}{'MB':>6}  ratio"
    )
    for case in CASES:
        names = dict.fromkeys(each.target for each in figures if each.case == case.name)
        base = _sum_us(figures, case.name, "nginx plain" if case.streamed else "nginx+lua")
        for name in names:
            rows = [each for each in figures if (each.case, each.target) == (case.name, name)]
            total = _sum_us(figures, case.name, name)
            print(_row(rows, total, total / base if base and name == "comptroller" else 0.0))


def _sum_us(figures: list[Figure], case: str, target: str) -> float:
    """Median CPU of front and ledger together; of the front alone for streams."""
    rows = [each for each in figures if (each.case, each.target) == (case, target)]
    sums = [row.front_us + (0 if row.per_chunk_us else row.ledger_us) for row in rows]
    return statistics.median(sums) if sums else 0.0


def _row(rows: list[Figure], total: float, ratio: float) -> str:
    def median(name: str) -> float:
        values: list[float] = [getattr(row, name) for row in rows]
        return statistics.median(values)

    front = [row.front_us for row in rows]
    spread = f"{median('front_us'):.0f} ({min(front):.0f}-{max(front):.0f})"
    if rows[0].target == "direct":
        spread, total = "", 0.0
    return (
        f"{rows[0].case:14}{rows[0].target:13}{spread:>20}{median('ledger_us'):11.0f}{total:9.0f}"
        f"{median('per_chunk_us'):10.1f}{median('requests_per_s'):8.0f}{median('p50_ms'):9.2f}"
        f"{median('p99_ms'):9.2f}{median('rss_mb'):6.0f}  {f'{ratio:.2f}' if ratio else ''}"
    )


if __name__ == "__main__":
    main()
