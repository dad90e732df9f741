"""The gateway under test, started as a user would: `comptroller up` with a file and a folder."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import cases
from bench.children import BenchFailed
from bench.meter import Group, ledger_below, tree
from bench.reference import free_port

READY_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 20.0
_SECRET_VARIABLE = "BENCH_CLIENT_SECRET"
_NUSD_PER_USD = 1e9  # prices in the file are dollars per token, as LiteLLM has them


@dataclass(frozen=True, slots=True)
class Running:
    """A gateway that serves: its port, and the processes that are billed. The supervisor's CPU
    counts as the gateway's."""

    port: int
    gateway: Group
    ledger: Group
    socket_path: Path


def configuration(upstream_port: int) -> str:
    """comptroller.yaml (JSON is YAML) for the scopes of `bench.cases`."""
    key = {
        "name": cases.KEY_NAME,
        "scope": cases.RUN_SCOPE,
        "secret": f"os.environ/{_SECRET_VARIABLE}",
        "budget": cases.KEY_BUDGET,
    }
    model = {
        "model_name": cases.MODEL,
        "litellm_params": {
            "model": f"openai/{cases.PROVIDER_MODEL}",
            "api_base": f"http://127.0.0.1:{upstream_port}/v1",
            "api_key": cases.PROVIDER_KEY,
        },
        "model_info": {
            "input_cost_per_token": cases.INPUT_NUSD_PER_TOKEN / _NUSD_PER_USD,
            "output_cost_per_token": cases.OUTPUT_NUSD_PER_TOKEN / _NUSD_PER_USD,
            "max_input_tokens": cases.INPUT_TOKENS_MAX,
            "max_output_tokens": cases.OUTPUT_TOKENS_DEFAULT * 2,
            "supports_reasoning": False,  # then a client that hangs up is noticed: the dearer path
        },
    }
    document = {"model_list": [model], "budgets": cases.BUDGETS, "keys": [key]}
    return json.dumps(document, indent=1)


@contextlib.contextmanager
def running(upstream_port: int, folder: Path) -> Iterator[Running]:
    """One worker, everything below `folder`, ended with the block. Raises BenchFailed."""
    folder.mkdir()
    config, log = folder / "comptroller.yaml", folder / "up.log"
    config.write_text(configuration(upstream_port), encoding="utf-8")
    data_dir, port = folder / "data", free_port()
    command = [
        *(str(Path(sys.executable).parent / "comptroller"), "up"),
        *("--config", str(config), "--data-dir", str(data_dir)),
        *("--port", str(port), "--workers", "1"),
    ]
    environment = {
        **os.environ,
        _SECRET_VARIABLE: cases.CLIENT_SECRET,
        # Neither has a part in a request: `bench.records` and `bench.door` have their bills.
        "COMPTROLLER_RECORD": "false",
        "COMPTROLLER_ADMIN": "false",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _wait_until_ready(port, process, log)
        ledger_pid = ledger_below(process.pid)
        if not ledger_pid:
            raise BenchFailed("no valkey-server below `comptroller up`: what is its ledger?")
        yield Running(
            port,
            Group(process.pid, without=ledger_pid),
            Group(ledger_pid),
            data_dir / "ledger.sock",
        )
    finally:
        _stop(process)


def _wait_until_ready(port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
    give_up = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < give_up and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
        try:
            connection.request("GET", "/readyz")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.1)  # a port that nobody listens on has no event
        finally:
            connection.close()
    raise BenchFailed(f"`comptroller up` is not ready: {log.read_text(errors='replace')[-2000:]}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """SIGTERM drains it; what is left after that is killed, child by child."""
    family = tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()
