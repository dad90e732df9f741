"""One measurement: warm up, read the meters, run a fixed number of requests, read them again."""

import time
from dataclasses import dataclass

from bench import cases
from bench.cases import Case
from bench.children import BenchFailed, Child
from bench.meter import Group, read_group

JOB_TIMEOUT_S = 60.0
# A stream's booking in nginx runs just after its end: it belongs into the bill.
SETTLING_S = 0.1


@dataclass(frozen=True, slots=True)
class Target:
    """Something that answers chat requests. `server` and `ledger` are billed; None: nobody is."""

    name: str
    port: int
    path: str
    streamed_path: str
    server: Group | None = None
    ledger: Group | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement; CPU in microseconds per request. `chunks_seen` is the share of a stream's
    chunks that arrived as a piece of their own (0 where nothing was streamed)."""

    server_us: float
    ledger_us: float
    server_rss_mb: float
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    chunks_seen: float

    @property
    def sum_us(self) -> float:
        """Server and ledger together."""
        return self.server_us + self.ledger_us


def measure(load: Child, target: Target, case: Case) -> Sample:
    """Raises BenchFailed where an answer was not what it must be."""
    _run(load, target, case, case.warm_up)
    groups = [target.server, target.ledger]
    before = [read_group(group).cpu_ns if group else 0 for group in groups]
    seen = _run(load, target, case, case.requests)
    time.sleep(SETTLING_S)  # what is written behind the answers counts, too
    after = [read_group(group).cpu_ns if group else 0 for group in groups]
    server_us, ledger_us = (
        (end - begin) / 1000 / case.requests for begin, end in zip(before, after, strict=True)
    )
    streamed_chunks = case.requests * cases.STREAM_CHUNKS
    return Sample(
        server_us=server_us,
        ledger_us=ledger_us,
        server_rss_mb=read_group(target.server).rss_bytes / 1e6 if target.server else 0.0,
        requests_per_s=case.requests / seen["seconds"],
        p50_ms=seen["p50_ms"],
        p99_ms=seen["p99_ms"],
        chunks_seen=min(1.0, seen["chunks"] / streamed_chunks) if case.streamed else 0.0,
    )


def _run(load: Child, target: Target, case: Case, requests: int) -> dict[str, float]:
    job = {
        "port": target.port,
        "path": target.streamed_path if case.streamed else target.path,
        "secret": cases.CLIENT_SECRET,
        "body": case.body().decode(),
        "concurrency": case.concurrency,
        "requests": requests,
        "streamed": case.streamed,
    }
    seen = load.ask(job, JOB_TIMEOUT_S)
    if seen["failures"]:
        raise BenchFailed(f"{target.name}, {case.name}: {seen['failures'][0]}")
    return seen
