"""`python -m bench.door`: how soon the stack serves, its weight at rest, and what is installed."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from bench.meter import tree
from bench.reference import free_port

STARTS = 3
READY_S_MAX = 60.0
REST_S = 5.0
SHOWN = 10
_LAST_LINE = "admin API"


def main() -> int:
    """Prints figures."""
    print(f"load of the machine: {os.getloadavg()[0]:.2f}")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        for n in range(STARTS):
            with _running(Path(folder)) as (process, seconds):
                print(f"start {n + 1}, until all parts serve: {seconds:.2f} s")
                if n == STARTS - 1:
                    time.sleep(REST_S)
                    _print_memory(process.pid)
    _print_installed()
    return 0


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[tuple["subprocess.Popen[bytes]", float]]:
    ports = ("PORT", "ADMIN_PORT", "CLICKHOUSE_PORT")
    environment = {
        **os.environ,
        "COMPTROLLER_DATA_DIR": str(folder / "data"),
        **{f"COMPTROLLER_{name}": str(free_port()) for name in ports},
    }
    began_s = time.perf_counter()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "comptroller"), "up"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )
    try:
        yield process, _until_greeted(process, began_s)
    finally:
        process.terminate()
        process.wait(READY_S_MAX)
        assert process.stdout is not None
        process.stdout.close()


def _until_greeted(process: "subprocess.Popen[bytes]", began_s: float) -> float:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(_LAST_LINE.encode()):
            return time.perf_counter() - began_s
    raise RuntimeError("`comptroller up` ended before it served: see what it said above")


def _print_memory(pid: int) -> None:
    """Proportional: what processes share is counted once."""
    total_mb = 0.0
    for each in tree(pid):
        words = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
        name = " ".join(word.decode() for word in words if word)[-60:]
        size_mb = _kilobytes(each, "Pss:") / 1024
        total_mb += size_mb
        print(f"{size_mb:6.0f} MB  (resident {_kilobytes(each, 'Rss:') / 1024:.0f})  {name}")
    print(f"{total_mb:6.0f} MB  all parts at rest")


def _kilobytes(pid: int, field: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


def _print_installed() -> None:
    sizes = {each.name: _size(each) for each in distributions()}
    print(f"{sum(sizes.values()) / 2**20:6.0f} MB  installed, tools of development among them")
    for name, size in sorted(sizes.items(), key=lambda item: -item[1])[:SHOWN]:
        print(f"{size / 2**20:6.0f} MB  {name}")


def _size(distribution: Distribution) -> int:
    paths = (Path(str(distribution.locate_file(each))) for each in distribution.files or ())
    return sum(path.stat().st_size for path in paths if path.is_file())


if __name__ == "__main__":
    sys.exit(main())
