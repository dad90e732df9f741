"""A stack whose configuration file a test writes again, and its provider."""

import asyncio
import contextlib
import copy
import json
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.gateway.behaviours import answers
from tests.gateway.processes import Running, comptroller_up, fake_config
from tests.gateway.provider import Provider
from tests.gateway.wire import Answer, Wire, post, request_bytes
from tests.pausing import pause

SECRET = "ck-a-secret-of-some-length"
GREETING = [{"role": "user", "content": "hello there"}]


def document(model: str = "plain", **more: object) -> dict[str, object]:
    """One request."""
    return {"model": model, "messages": GREETING, "max_tokens": 200, **more}


def priced(entry: dict[str, Any], name: str, times: int = 1) -> dict[str, Any]:
    """The same entry under a name, so many times as dear."""
    copied = copy.deepcopy(entry)  # else YAML would write an alias, which is not read
    for cost in ("input_cost_per_token", "output_cost_per_token"):
        copied["model_info"][cost] *= times
    return {**copied, "model_name": name}


def nusd(usd: str) -> int:
    """Of decimal dollars."""
    whole, _, decimals = usd.partition(".")
    return int(whole) * 10**9 + int(decimals.ljust(9, "0"))


@dataclass(slots=True)
class Reloading:
    """The stack. `first` is what its file said at the start."""

    running: Running
    provider: Provider
    first: dict[str, Any]

    @property
    def file(self) -> Path:
        """Its configuration."""
        return self.running.data_dir.parent / "comptroller.yaml"

    @property
    def entry(self) -> dict[str, Any]:
        """The model of the fake provider."""
        found: dict[str, Any] = self.first["model_list"][0]
        return found

    def write(self, **more: Any) -> None:
        """Another file: the first one, but for these parts."""
        self.file.write_text(yaml.safe_dump({**self.first, **more}), encoding="utf-8")

    async def ask_to(self) -> httpx.Response:
        """POST /v1/reload, as the first admin."""
        url = (self.running.data_dir / "admin.url").read_text(encoding="ascii")
        token = (self.running.data_dir / "admin-token").read_text(encoding="ascii")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            headers = {"authorization": f"Bearer {token}"}
            return await client.post(f"{url}/v1/reload", headers=headers)

    async def reload(self, **more: Any) -> dict[str, Any]:
        """Writes another file and has it read, which must succeed."""
        self.write(**more)
        answer = await self.ask_to()
        assert answer.status_code == 200, answer.text
        done: dict[str, Any] = answer.json()
        return done

    def hang_up(self) -> None:
        """SIGHUP to the supervisor."""
        os.kill(self.running.process.pid, signal.SIGHUP)

    def logged(self) -> list[str]:
        """What the supervisor has logged."""
        lines = (self.running.data_dir / "logs" / "up.log").read_text(encoding="utf-8").splitlines()
        return [str(json.loads(line)["message"]) for line in lines]

    async def ask(self, model: str = "plain", secret: str = SECRET, **more: object) -> Answer:
        """One call."""
        return await post(self.running.port, secret, document(model, **more))

    async def prices(self) -> dict[str, int]:
        """What /v1/models says of each model: nano-dollars per million input tokens."""
        async with Wire(self.running.port) as wire:
            await wire.send(request_bytes(SECRET, b"", path="/v1/models", method="GET"))
            answer = await wire.answer()
        assert answer.status == 200, answer
        return {each["id"]: each["input_nusd_per_mtok"] for each in answer.json["data"]}

    async def prices_of_each(self) -> list[dict[str, int]]:
        """The same of each worker: the others stand meanwhile, so that they cannot answer."""
        found = []
        workers = self.running.workers()
        for each in workers:
            with standing(workers - {each}):
                found.append(await self.prices())
        return found


@contextlib.contextmanager
def standing(pids: set[int]) -> Any:
    """None of these runs in the block."""
    for pid in pids:
        pause(pid)
    try:
        yield
    finally:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def reloading(*, record: bool = False) -> AsyncIterator[Reloading]:
    """Two workers and an admin API, on models `plain` and `old`; `record` as in comptroller_up."""
    provider = Provider(answers())
    await provider.start()
    config: dict[str, Any] = fake_config(provider)
    plain = config["model_list"][0]
    config["model_list"] = [plain, priced(plain, "old")]
    config["keys"] = [{"name": "ci", "scope": "acme/research", "secret": SECRET}]
    config["budgets"] = {"acme/research": [{"usd": "1000"}]}
    try:
        with tempfile.TemporaryDirectory(prefix="ct-") as folder:
            path = Path(folder)
            async with comptroller_up(
                path, config=config, workers=2, admin=True, record=record
            ) as running:
                yield Reloading(running, provider, config)
    finally:
        await provider.stop()


async def until_logged(stack: Reloading, text: str, count: int = 1, within_s: float = 30) -> None:
    """Waits until the supervisor has logged this so many times."""
    async with asyncio.timeout(within_s):
        while sum(text in each for each in stack.logged()) < count:  # noqa: ASYNC110  # a file
            await asyncio.sleep(0.05)
