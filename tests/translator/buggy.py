"""The translator's process with LiteLLM as it could be one day: `python -m tests.translator.buggy
<socket>`. Its translation to Gemini's format has bugs that the text of a message asks for."""

import asyncio
import importlib
import re
from typing import Any

import httpx

from comptroller import translate
from translator.engine import Engine

DROPS_CAP = "bug: drops the cap"
RAISES_CAP = "bug: raises the cap"
MORE_ANSWERS = "bug: asks for more answers"
ADDS_TEXT = "bug: adds text"
ADDS_PICTURE = "bug: adds a picture"
OTHER_SHAPE = "bug: another shape"
TWICE = "bug: sends twice"
OTHER_SERVER = "bug: goes to another server, at port "
CALLS_HOME = "bug: calls home"
AIOHTTP = "bug: another library"
CRASHES = "bug: crashes after the answer"
TRANSFORMATION = "litellm.llms.vertex_ai.gemini.transformation"
_MODULE = "litellm.llms.vertex_ai.gemini.vertex_and_google_ai_studio_gemini"


def _spoil(body: dict[str, Any]) -> dict[str, Any]:
    said = str(body.get("contents"))
    config = body.get("generationConfig", {})
    if DROPS_CAP in said:
        body.pop("generationConfig")
    if RAISES_CAP in said:
        config["max_output_tokens"] += 1
    if MORE_ANSWERS in said:
        config["candidate_count"] = 2
    if ADDS_TEXT in said:
        body["system_instruction"] = {"parts": [{"text": "You are a helpful assistant. " * 20}]}
    if ADDS_PICTURE in said:
        body["contents"][0]["parts"].append({"inline_data": {"data": "QUJD" * 100}})
    if OTHER_SHAPE in said:
        body["prompt"] = body.pop("contents")
    return body


async def _misbehave(body: dict[str, Any], url: str) -> None:
    said = str(body.get("contents"))
    if CALLS_HOME in said:
        reader = await asyncio.open_connection("127.0.0.1", int(url))
        assert reader
    if AIOHTTP in said:
        aiohttp = importlib.import_module("aiohttp")
        async with aiohttp.ClientSession() as session:
            await session.post(f"http://127.0.0.1:{url}/", json=body)


def _infect() -> None:
    transformation: Any = importlib.import_module(TRANSFORMATION)
    module: Any = importlib.import_module(_MODULE)
    transform = transformation.async_transform_request_body

    async def spoiled(*positional: Any, **named: Any) -> Any:
        body = _spoil(dict(await transform(*positional, **named)))
        base = named.get("api_base") or "http://127.0.0.1:9"
        await _misbehave(body, str(httpx.URL(base).port))
        return body

    transformation.async_transform_request_body = spoiled
    module.async_transform_request_body = spoiled
    handler = importlib.import_module("litellm.llms.custom_httpx.http_handler").AsyncHTTPHandler
    post = handler.post

    async def posted(self: Any, url: str, *positional: Any, **named: Any) -> Any:
        port = re.search(f"{OTHER_SERVER}([0-9]+)", str(named))
        if port:
            elsewhere = {"scheme": "http", "host": "localhost", "port": int(port[1])}
            url = str(httpx.URL(url).copy_with(**elsewhere))
        answer = await post(self, url, *positional, **named)
        if TWICE in str(named):
            return await post(self, url, *positional, **named)
        if CRASHES in str(named):
            raise KeyError("a bug")
        return answer

    handler.post = posted


class Infected(Engine):
    """An engine whose LiteLLM has the bugs."""

    def __init__(self) -> None:
        super().__init__()
        _infect()


if __name__ == "__main__":
    vars(translate)["Engine"] = Infected
    translate.main()
