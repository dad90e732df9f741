"""A file of LiteLLM's in real processes: a dead deployment costs nobody an answer."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.behaviours import answers
from tests.gateway.processes import comptroller_up, fake_config, free_port
from tests.gateway.provider import Provider
from tests.gateway.stack import GREETING, USAGE_NUSD

SECRET, MASTER_KEY = "ck-a-secret-of-some-length", "sk-a-master-key-of-some-length"
DOCUMENT = {"model": "plain", "messages": GREETING, "max_tokens": 50}
CALLS = 60


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    """The deployment that lives."""
    provider = Provider(answers())
    await provider.start()
    yield provider
    await provider.stop()


def config(provider: Provider) -> dict[str, object]:
    """Two deployments of one model, of which one is dead and would be asked more often."""
    made: dict[str, Any] = fake_config(provider)
    (alive,) = made["model_list"]
    params = {**alive["litellm_params"], "api_base": f"http://127.0.0.1:{free_port()}/v1"}
    dead = {**alive, "litellm_params": {**params, "weight": 3}}
    alive = {**alive, "litellm_params": {**alive["litellm_params"], "weight": 1}}
    document = {
        "model_list": [dead, alive],
        "router_settings": {"routing_strategy": "simple-shuffle", "num_retries": 2},
        "litellm_settings": {"drop_params": True},
        "general_settings": {"master_key": MASTER_KEY},
        "gateway": {"learn_bounds": False},
        "budgets": {"acme": [{"usd": "0.02"}, {"concurrency": 30}]},
        "keys": [{"name": "ci", "scope": "acme/research", "secret": SECRET}],
    }
    return json.loads(json.dumps(document))  # type: ignore[no-any-return]  # no YAML aliases


async def test_a_file_of_litellm_s_serves_with_one_deployment_dead(
    tmp_path: Path, provider: Provider
) -> None:
    """60 calls at once at two workers: each answered by the deployment that lives, each attempt
    with a reservation and an ending of its own, the budget exact. The master key opens the admin
    API."""
    async with comptroller_up(tmp_path, config=config(provider), workers=2, admin=True) as running:
        headers = {"authorization": f"Bearer {SECRET}"}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{running.port}",
            headers=headers,
            timeout=60,
            trust_env=False,
            verify=False,
        ) as client:

            async def call() -> httpx.Response:
                return await client.post("/v1/chat/completions", json=DOCUMENT)

            found = await asyncio.gather(*(call() for _ in range(CALLS)))
            assert Counter(each.status_code for each in found) == {200: CALLS}
            retried = sum("x-comptroller-attempts" in each.headers for each in found)
            assert retried > 0
            admin = (running.data_dir / "admin.url").read_text(encoding="ascii")
            keys = await client.get(
                f"{admin}/v1/keys", headers={"authorization": f"Bearer {MASTER_KEY}"}
            )
            assert keys.status_code == 200
        view = running.view("acme")
        await view.until_at_rest()
        assert await view.spent_in(1) == CALLS * USAGE_NUSD
        requests = [json.loads(each.event) for each in await view.requests()]
        assert len(requests) == CALLS + retried
        further = {each["correlation_id"] for each in requests if each.get("correlation_id")}
        assert len(further) == retried
        assert further <= {each["request_id"] for each in requests}
        await view.close()
