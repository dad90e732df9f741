"""Many samples as one table: medians, with the least and the most beside them."""

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from bench.cases import STREAM_CHUNKS, Case
from bench.measure import Sample

GATEWAY, BUDGETS, PLAIN, DIRECT = "comptroller", "nginx + LuaJIT", "nginx proxy_pass", "direct"
_COLUMNS = (
    *("case", "server", "us CPU/request (min-max)", "server us", "ledger us", "us/chunk"),
    *("/ nginx+LuaJIT (min-max)", "/ proxy_pass", "req/s", "p50 ms", "p99 ms", "chunks apart"),
)


@dataclass(frozen=True, slots=True)
class Results:
    """Samples by case and server, in order of the repetitions, which belong together."""

    samples: dict[tuple[str, str], list[Sample]]
    cases: tuple[Case, ...]
    load_before: tuple[float, float, float]
    load_after: tuple[float, float, float]
    seconds: float
    skipped: str

    def of(self, case: Case, server: str) -> list[Sample]:
        """Samples of one row; empty where it was not measured."""
        return self.samples.get((case.name, server), [])

    def measured(self) -> list[tuple[Case, str]]:
        """The rows that there are, in order."""
        servers = (GATEWAY, BUDGETS, PLAIN, DIRECT)
        return [(case, each) for case in self.cases for each in servers if self.of(case, each)]

    def ratios(self, case: Case, server: str, other: str) -> list[float]:
        """CPU against another server's in the same repetition."""
        pairs = zip(self.of(case, server), self.of(case, other), strict=False)
        return [mine.sum_us / theirs.sum_us for mine, theirs in pairs]

    def added_ms(self, case: Case, server: str) -> list[float]:
        """The median latency that a server adds to the provider's own, per repetition."""
        pairs = zip(self.of(case, server), self.of(case, DIRECT), strict=False)
        return [mine.p50_ms - direct.p50_ms for mine, direct in pairs]


def table(results: Results) -> str:
    """For people."""
    rows = [_row(results, case, server) for case, server in results.measured()]
    lines = [*_aligned([_COLUMNS, *rows]), "", *_latencies(results)]
    lines += _memory(results)
    lines.append(
        f"load {_loads(results.load_before)} before, {_loads(results.load_after)} after; "
        f"{results.seconds:.0f} s"
    )
    if results.skipped:
        lines.append(f"SKIPPED the reference: {results.skipped}")
    return "\n".join(lines)


def _row(results: Results, case: Case, server: str) -> Sequence[str]:
    samples = results.of(case, server)
    billed = server != DIRECT
    chunk_us = [one.sum_us / STREAM_CHUNKS for one in samples]
    return (
        case.name,
        server,
        _spread([one.sum_us for one in samples], 0) if billed else "",
        f"{_median(samples, 'server_us'):.0f}" if billed else "",
        f"{_median(samples, 'ledger_us'):.0f}" if billed and server != PLAIN else "",
        _spread(chunk_us, 1) if billed and case.streamed else "",
        _spread(results.ratios(case, server, BUDGETS), 2) if billed else "",
        _middle(results.ratios(case, server, PLAIN)) if billed else "",
        f"{_median(samples, 'requests_per_s'):.0f}",
        f"{_median(samples, 'p50_ms'):.2f}",
        f"{_median(samples, 'p99_ms'):.2f}",
        f"{_median(samples, 'chunks_seen'):.0%}" if case.streamed else "",
    )


def _latencies(results: Results) -> list[str]:
    lines = []
    for case in results.cases:
        for server in (GATEWAY, BUDGETS, PLAIN):
            added = results.added_ms(case, server)
            if added and not case.streamed:
                lines.append(f"{server} adds {_spread(added, 3)} ms (p50; {case.name})")
    return lines


def _memory(results: Results) -> list[str]:
    used = [
        sample.server_rss_mb
        for (_, server), samples in results.samples.items()
        if server == GATEWAY
        for sample in samples
    ]
    return [f"largest process of {GATEWAY}: {max(used):.0f} MB resident"] if used else []


def _spread(values: Sequence[float], digits: int) -> str:
    if not values:
        return ""
    least, most = min(values), max(values)
    return f"{median(values):.{digits}f} ({least:.{digits}f}-{most:.{digits}f})"


def _median(samples: Sequence[Sample], figure: str) -> float:
    return float(median(getattr(each, figure) for each in samples))


def _middle(values: Sequence[float]) -> str:
    return f"{median(values):.2f}" if values else ""


def _loads(loads: Iterable[float]) -> str:
    return " ".join(f"{load:.2f}" for load in loads)


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def write_json(results: Results, path: Path) -> None:
    """For machines: every sample, and the ratios per repetition."""
    rows = [
        {
            "case": asdict(case),
            "server": server,
            "samples": [
                {**asdict(each), "sum_us": each.sum_us} for each in results.of(case, server)
            ],
            "ratio_to_nginx_luajit": results.ratios(case, server, BUDGETS),
            "ratio_to_proxy_pass": results.ratios(case, server, PLAIN),
            "added_p50_ms": results.added_ms(case, server),
        }
        for case, server in results.measured()
    ]
    document = {
        "rows": rows,
        "load_before": results.load_before,
        "load_after": results.load_after,
        "seconds": results.seconds,
        "skipped": results.skipped,
        "python": platform.python_version(),
        "kernel": platform.release(),
    }
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
