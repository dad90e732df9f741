"""The gateway as a user starts it: `comptroller up` with a file, one worker, its own ledger."""

import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from bench.cases import (
    BUDGETS,
    CLIENT_SECRET,
    INPUT_NUSD_PER_TOKEN,
    INPUT_TOKENS_MAX,
    KEY_BUDGET,
    KEY_NAME,
    MODEL,
    OUTPUT_NUSD_PER_TOKEN,
    PROVIDER_KEY,
    PROVIDER_MODEL,
    RUN_SCOPE,
)
from bench.children import BenchFailed
from bench.meter import Group, ledger_below
from bench.reference import free_port

READY_TIMEOUT_S = 20.0


class Gateway:
    """`comptroller up`, from `with` to its end."""

    def __init__(self, provider_port: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="comptroller-bench-")
        self._path = Path(self._folder.name)
        self._provider_port = provider_port
        self.port = free_port()

    @property
    def socket_path(self) -> Path:
        """Where its ledger listens."""
        return self._path / "data" / "ledger.sock"

    def __enter__(self) -> Self:
        config = self._path / "comptroller.yaml"
        config.write_text(yaml.safe_dump(_document(self._provider_port)))
        command = Path(sys.executable).with_name("comptroller")
        self._process = subprocess.Popen(
            [
                *(str(command), "up", "--config", str(config)),
                *("--data-dir", str(self._path / "data"), "--port", str(self.port)),
            ],
            stdout=subprocess.DEVNULL,
        )
        self._wait()
        ledger = ledger_below(self._process.pid)
        self.ledger = Group(ledger)
        self.workers = Group(self._process.pid, without=ledger)
        return self

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < give_up and self._process.poll() is None:
            try:
                url = f"http://127.0.0.1:{self.port}/readyz"
                with urllib.request.urlopen(url, timeout=1) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        raise BenchFailed("comptroller up was not ready in time")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait()
        self._folder.cleanup()


def _document(provider_port: int) -> dict[str, object]:
    return {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{PROVIDER_MODEL}",
                    "api_base": f"http://127.0.0.1:{provider_port}/v1",
                    "api_key": PROVIDER_KEY,
                },
                "model_info": {
                    "input_cost_per_token": INPUT_NUSD_PER_TOKEN / 1e9,
                    "output_cost_per_token": OUTPUT_NUSD_PER_TOKEN / 1e9,
                    "max_input_tokens": INPUT_TOKENS_MAX,
                    "max_output_tokens": 128_000,
                    "supports_reasoning": False,
                },
            }
        ],
        "budgets": dict(BUDGETS),
        "keys": [
            {
                "name": KEY_NAME,
                "scope": RUN_SCOPE,
                "secret": CLIENT_SECRET,
                "budget": list(KEY_BUDGET),
            }
        ],
    }
