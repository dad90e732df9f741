"""Starts everything on one machine: the embedded ledger, what the file declares, the workers."""

import asyncio
import dataclasses
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from budgets.embedded import EmbeddedServer, EmbeddedServerFailed
from budgets.keys import new_secret
from budgets.policy import parse_policy
from comptroller.declare import declare
from comptroller.parts import open_session
from comptroller.serve import serve
from comptroller.settings import DeclaredKey, Settings
from comptroller.supervise import RecorderProcess

DEMO_SCOPE = "demo"
DEMO_KEY = "first"
DEMO_BUDGET = [{"usd": "1.00"}]


def up(settings: Settings, config_path: Path | None) -> None:
    """Runs until SIGTERM or SIGINT, then drains and stops."""
    signal.signal(signal.SIGTERM, _stop)  # until the workers' supervisor takes over
    data_dir = Path(settings.data_dir).absolute()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not settings.keys:
        settings = _with_first_key(settings, data_dir)
    server = recorder = None
    redis_url = settings.redis_url
    if not redis_url:
        server = EmbeddedServer(data_dir)
        server.start()
        redis_url = f"unix://{server.socket_path}"
    try:
        asyncio.run(_declared(settings, redis_url))
        if settings.record:
            recorder = RecorderProcess(data_dir, config_path, redis_url)
            recorder.start()
        print(_greeting(settings), flush=True)  # noqa: T201  # what the command is for
        if server is not None:
            server.watch(_ledger_died)
        serve(settings, config_path, redis_url)
    finally:
        if recorder is not None:
            recorder.stop()
        if server is not None:
            server.stop()
    if server is not None and server.died:
        raise EmbeddedServerFailed("the ledger's server ended by itself: see its log")


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


def _ledger_died() -> None:
    """The workers know more than a server that lost its last second would: all start anew, which
    is for whoever supervises this process."""
    sys.stderr.write("comptroller: the ledger's server ended; stopping. Start again with `up`.\n")
    os.kill(os.getpid(), signal.SIGTERM)


async def _declared(settings: Settings, redis_url: str) -> None:
    session = open_session(redis_url)
    try:
        await declare(settings, session)
    finally:
        await session.transport.close()


def _with_first_key(settings: Settings, data_dir: Path) -> Settings:
    """A key with a one-dollar budget for whoever has declared none; its secret is kept, so that
    the next start prints the same one."""
    secret_file = data_dir / "first-key"
    if not secret_file.exists():
        descriptor = os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(new_secret())
    key = DeclaredKey(
        name=DEMO_KEY,
        scope=DEMO_SCOPE,
        secret=secret_file.read_text(encoding="ascii").strip(),
        budget=parse_policy(DEMO_BUDGET),
    )
    return dataclasses.replace(settings, keys=(key,))


def _greeting(settings: Settings) -> str:
    base = f"http://{settings.host}:{settings.port}/v1"
    key = settings.keys[0]
    model = settings.models[0].name
    if key.name != DEMO_KEY:
        return f"base URL  {base}\nkeys      {', '.join(each.name for each in settings.keys)}"
    headers = f"-H 'Authorization: Bearer {key.secret}' -H 'Content-Type: application/json'"
    message = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "hello"}}]}}'
    return "\n".join(
        (
            f"base URL  {base}",
            f"key       {key.secret}   (budget: $1.00)",
            f"try it    curl {base}/chat/completions {headers} -d '{message}'",
        )
    )
