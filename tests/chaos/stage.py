"""What every chaos run is played on: models and their prices, keys below nested budgets, and how
long things take there. Leases are short, so that a run sees many of them expire.
"""

import os
from dataclasses import dataclass

from tests.gateway.processes import Running

LEASE_MS = 2_000
WORKERS = 2
MODELS = ("plain", "thinker")
INPUT_NUSD, OUTPUT_NUSD = 1_000, 2_000
OUTPUT_TOKENS_MAX = 16_384
ORGANISATIONS = ("acme", "globex")
_BUDGETS: dict[str, object] = {
    "acme": [{"usd": "500"}, {"tokens": 2_000_000_000}, {"concurrency": 20}],
    "acme/alpha": [{"usd": "250"}, {"requests": 2_000, "window": "minute"}],
    "acme/alpha/nightly": {"limits": [{"concurrency": 6}], "output_tokens_default": 600},
    "acme/beta": [{"usd": "0.05", "window": "minute"}],
    "acme/gamma": [{"usd": "0.08"}],  # is there to be exhausted
    "globex": [{"usd": "100"}, {"concurrency": 8}],
    "globex/tools": {"limits": [], "per_child": [{"tokens": 40_000_000}]},
}
_KEYS: tuple[tuple[str, str, list[object]], ...] = (
    ("nightly", "acme/alpha/nightly", [{"usd": "100"}]),
    ("dev", "acme/alpha", [{"requests": 150, "window": "minute"}]),
    ("beta", "acme/beta", []),
    ("gamma", "acme/gamma", [{"tokens": 500_000_000}]),
    ("tools", "globex/tools", []),
)
KEYS = tuple(name for name, _, _ in _KEYS)


@dataclass(frozen=True, slots=True)
class Options:
    """Of one run. `callers` are clients at a time; `pause_s` is the longest time between two
    faults."""

    seconds: float
    seed: int
    callers: int = 20
    pause_s: float = 4.0


class Stack:
    """The stack that runs now: whoever starts another one puts it here. `starts` counts them,
    `failed_in_a_row` those in vain since it served last."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.running: Running | None = None
        self.starts = 0
        self.starts_that_failed = 0
        self.failed_in_a_row = 0


def secret_of(key: str) -> str:
    """As the file declares it."""
    return f"ck-chaos-secret-of-{key}"


def config(provider_port: int) -> dict[str, object]:
    """comptroller.yaml."""
    return {
        "model_list": [_model(name, provider_port) for name in MODELS],
        "budgets": _BUDGETS,
        "keys": [
            {"name": name, "scope": scope, "secret": secret_of(name), "budget": budget}
            for name, scope, budget in _KEYS
        ],
        "ledger": {"lease_ms": LEASE_MS},
        "gateway": {
            "wait_ms": 800,
            "drain_ms": 3_000,
            "output_tokens_default": 1_500,
            "output_tokens_least": 64,
            "idle_timeout_ms": 4_000,
        },
        "recorder": {"head_every_ms": 2_000},
    }


def _model(name: str, port: int) -> dict[str, object]:
    """`plain` streams all that it bills and stops when cancelled; `thinker` reasons unseen."""
    return {
        "model_name": name,
        "litellm_params": {
            "model": f"openai/{name}",
            "api_base": f"http://127.0.0.1:{port}/v1",
            "api_key": "sk-provider-secret-0123456789",
            "timeout": 5,
            "stream_timeout": 5,
        },
        "model_info": {
            "input_cost_per_token": INPUT_NUSD / 10**9,
            "output_cost_per_token": OUTPUT_NUSD / 10**9,
            "max_input_tokens": 128_000,
            "max_output_tokens": OUTPUT_TOKENS_MAX,
            "supports_reasoning": name == "thinker",
        },
    }


def this_tree() -> dict[str, str]:
    """What makes the installed command run the modules that the run itself has."""
    path = os.environ.get("PYTHONPATH")
    return {"PYTHONPATH": path} if path else {}


def cost_nusd(tokens: tuple[int, int]) -> int:
    """Of (input, output) tokens, at the prices of both models."""
    return tokens[0] * INPUT_NUSD + tokens[1] * OUTPUT_NUSD
