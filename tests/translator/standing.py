"""A translator's process for the tests of a module, and eyes on both of its sides."""

import asyncio
import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from comptroller.settings import load_settings
from comptroller.translated import deployment, listen_at
from tests.gateway.processes import PASSED_ON, free_port
from tests.gateway.provider import Behaviour, Provider, _Connection
from translator.hop import DEPLOYMENT_HEADER, SOCKET_NAME, TARGET

NEEDS_LITELLM = pytest.mark.skipif(
    find_spec("litellm") is None, reason="LiteLLM is not installed: pip install litellm"
)
SECRET = f"sk-{secrets.token_hex(12)}"
AWS_SECRET = f"aws-{secrets.token_hex(12)}"
ENVIRONMENT_SECRET = f"token-{secrets.token_hex(12)}"
"""Of nobody's entry."""
READY_S_MAX = 90  # LiteLLM is imported, on a machine that may be busy
PRICES = {
    "input_cost_per_token": 0.000001,
    "output_cost_per_token": 0.000002,
    "max_input_tokens": 128_000,
    "max_output_tokens": 16_384,
}
GREETING = [{"role": "user", "content": "hello there"}]


def model_list(port: int) -> list[dict[str, Any]]:
    """One model of each format, all at the fake provider; `bare` where LiteLLM knows, `absent`
    where nobody listens."""
    base = f"http://127.0.0.1:{port}"
    nobody = f"http://127.0.0.1:{free_port()}"
    aws = {
        "aws_access_key_id": "AKIAEXAMPLE",
        "aws_secret_access_key": AWS_SECRET,
        "aws_region_name": "us-east-1",
    }
    params: dict[str, dict[str, Any]] = {
        "gemini": {"model": "gemini/gemini-2.5-flash", "api_base": base, "api_key": SECRET},
        "converse": {"model": "bedrock/amazon.nova-pro-v1:0", "api_base": base, **aws},
        "mistral": {"model": "mistral/mistral-small", "api_base": f"{base}/v1", "api_key": SECRET},
        "cohere": {
            "model": "cohere_chat/command-a-03-2025",
            "api_base": f"{base}/v2/chat",
            "api_key": SECRET,
        },
        "azure": {
            "model": "azure/deployed",
            "api_base": base,
            "api_key": SECRET,
            "api_version": "2024-10-21",
        },
        "claude": {"model": "azure_ai/claude-sonnet-4-5", "api_base": base, "api_key": SECRET},
        "bare": {"model": "gemini/gemini-2.5-flash", "api_key": SECRET},
        "absent": {"model": "gemini/gemini-2.5-flash", "api_base": nobody, "api_key": SECRET},
    }
    return [
        {"model_name": name, "litellm_params": each, "model_info": dict(PRICES)}
        for name, each in params.items()
    ]


class FixedProvider(Provider):
    """Listens on a port that was known before: the translator outlives a test's event loop."""

    def __init__(self, behaviour: Behaviour, port: int) -> None:
        super().__init__(behaviour)
        self._fixed = port

    async def start(self) -> None:
        """See Provider."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self._fixed, backlog=2048
        )
        self.port = self._fixed


@dataclass(slots=True)
class Translator:
    """A running one. `port`: where its provider is to listen."""

    socket_path: Path
    port: int
    log_path: Path
    deployments: dict[str, str]
    pid: int

    @property
    def log(self) -> str:
        """All that it has said."""
        return self.log_path.read_text(encoding="utf-8")

    def client(self) -> httpx.AsyncClient:
        """As the gateway: on its socket."""
        transport = httpx.AsyncHTTPTransport(uds=str(self.socket_path))
        return httpx.AsyncClient(transport=transport, base_url="http://translator", timeout=60)

    async def ask(self, model: str, **fields: Any) -> httpx.Response:
        """One request, as the gateway sends it."""
        document = {"model": "x", "messages": GREETING, "max_tokens": 50, **fields}
        if fields.get("stream"):
            document["stream_options"] = {"include_usage": True}
        headers = {
            DEPLOYMENT_HEADER.decode(): self.deployments[model],
            "content-type": "application/json",
        }
        async with self.client() as client:
            return await client.post(TARGET.decode(), json=document, headers=headers)


@contextlib.contextmanager
def translating(folder: Path) -> Iterator[Translator]:
    """A translator with the bugs of `tests.translator.buggy`, which sleep until they are called."""
    port = free_port()
    config = folder / "comptroller.yaml"
    config.write_text(yaml.safe_dump({"model_list": model_list(port)}), encoding="utf-8")
    log_path = folder / "translator.log"
    listener = listen_at(folder / SOCKET_NAME)
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.translator.buggy", str(listener.fileno())],
            env={
                **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
                "COMPTROLLER_CONFIG": str(config),
                "LITELLM_MODE": "DEV",
                "LITELLM_PROXY_API_KEY": "not obeyed",
                "AWS_BEARER_TOKEN_BEDROCK": ENVIRONMENT_SECRET,
            },
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=(listener.fileno(),),
        )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n", log_path.read_text(encoding="utf-8")
        entries = load_settings(config, {}).models
        ids = {each.name: deployment(each).id for each in entries}
        yield Translator(folder / SOCKET_NAME, port, log_path, ids, process.pid)
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        listener.close()


@contextlib.asynccontextmanager
async def provider_at(port: int, behaviour: Behaviour) -> AsyncIterator[FixedProvider]:
    """The fake provider, for one test."""
    provider = FixedProvider(behaviour, port)
    await provider.start()
    try:
        yield provider
    finally:
        await provider.stop()


def events_of(body: bytes) -> list[Any]:
    """The documents of a stream; None for its end."""
    texts = [each.removeprefix(b"data: ") for each in body.split(b"\n\n") if each]
    return [None if text == b"[DONE]" else json.loads(text) for text in texts]
