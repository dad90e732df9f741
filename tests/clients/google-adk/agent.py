"""An ADK agent of two steps, streamed."""

import asyncio
import json
import os

from google.adk.agents import LlmAgent
from google.adk.agents.run_config import RunConfig, StreamingMode
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai.types import Content, Part


def stock(item: str) -> str:
    """How much of an item is in stock."""
    return f"17 boxes of {item}"


async def main() -> None:
    model = LiteLlm(f"openai/{os.environ['MODEL']}")  # OPENAI_BASE_URL, OPENAI_API_KEY
    runner = InMemoryRunner(LlmAgent(name="clerk", model=model, tools=[stock]), app_name="shop")
    session = await runner.session_service.create_session(app_name="shop", user_id="me")
    question = Content(role="user", parts=[Part(text='How much "tea" is left?')])
    async for event in runner.run_async(
        user_id="me",
        session_id=session.id,
        new_message=question,
        run_config=RunConfig(streaming_mode=StreamingMode.SSE),
    ):
        if event.is_final_response() and event.content:
            print(json.dumps({"answer": "".join(part.text or "" for part in event.content.parts)}))


asyncio.run(main())
