"""A process of the stack loads what it needs and no more: a start is mostly imports, and each of
these libraries costs one a tenth of a second and some megabytes, for something that few use."""

import subprocess
import sys
from pathlib import Path

import pytest

LOADED = """
import sys
from importlib import import_module
from pathlib import Path
for name in sys.argv[2].split():
    import_module(name)
if "clickhouse.engine" in sys.argv[2]:
    from clickhouse.engine import Engine
    Engine(Path(sys.argv[1])).close()
print(*sys.modules)
"""
TRANSPORTS = {"redis", "valkey"}  # redis-py, for TLS and clusters; the client beside the server
PROXIES = {"httpx"}  # for providers behind a proxy
SERVING = {"uvicorn"}  # the supervisor serves nothing
FRAMES = {"pyarrow", "numpy", "pandas"}  # chDB's, for data frames
ENGINE = {"chdb"}


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("comptroller.up", TRANSPORTS | PROXIES | SERVING | ENGINE | FRAMES),
        ("comptroller.work", TRANSPORTS | PROXIES | ENGINE | FRAMES),
        ("comptroller.record clickhouse.engine", TRANSPORTS | PROXIES | FRAMES),
    ],
    ids=["up", "a worker", "the recorder with its engine"],
)
def test_what_a_start_does_not_load(modules: str, absent: set[str], tmp_path: Path) -> None:
    """Neither at its import nor, of the engine, by its opening."""
    ran = subprocess.run(
        [sys.executable, "-c", LOADED, str(tmp_path), modules],
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.partition(".")[0] for name in ran.stdout.split()}
    assert set(modules.split()) <= set(ran.stdout.split())
    assert not loaded & absent
