"""LiteLLM, with all that it does by itself switched off. The only file that imports it."""

import logging
import os
import warnings
from collections.abc import AsyncIterator
from typing import Any

from translator.asked import Asked
from translator.deployment import Deployment
from translator.surroundings import superfluous

TIMEOUT_S = 7_200.0
"""The gateway keeps the time: when it hangs up, the call is cancelled."""
_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",  # else it reads a .env of the folder that it is started in
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it fetches one over the network
    "LITELLM_LOG": "CRITICAL",
}
_LOGGERS = ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy", "openai", "httpx", "httpcore", "botocore")


class Engine:
    """Made once in a process, whose environment it cuts down to what LiteLLM may see: importing
    LiteLLM takes seconds and two hundred megabytes."""

    def __init__(self) -> None:
        for name in superfluous(tuple(os.environ)):
            del os.environ[name]
        os.environ.update(_ENVIRONMENT)
        import litellm  # noqa: PLC0415  # after its environment

        litellm.telemetry = False
        litellm.suppress_debug_info = True
        litellm.turn_off_message_logging = True
        litellm.disable_aiohttp_transport = True
        litellm.drop_params = False
        litellm.modify_params = False
        litellm.num_retries = 0
        litellm.cache = None
        for callbacks in ("callbacks", "success_callback", "failure_callback", "input_callback"):
            setattr(litellm, callbacks, [])
        for name in _LOGGERS:  # they repeat what they were called with
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        warnings.simplefilter("ignore")  # so do they
        self._complete: Any = litellm.acompletion

    async def answer(self, deployment: Deployment, asked: Asked) -> dict[str, Any]:
        """A whole answer, as OpenAI's API gives it. Raises whatever LiteLLM does."""
        answer = await self._call(deployment, asked)
        return _plain(answer)

    async def stream(self, deployment: Deployment, asked: Asked) -> AsyncIterator[dict[str, Any]]:
        """The chunks of a streamed one."""
        async for chunk in await self._call(deployment, asked):
            yield _plain(chunk)

    async def _call(self, deployment: Deployment, asked: Asked) -> Any:  # noqa: ANN401  # LiteLLM's
        return await self._complete(
            model=f"{deployment.provider}/{deployment.model}",
            **asked.arguments,
            **deployment.params,
            max_tokens=asked.cap,
            num_retries=0,
            max_retries=0,
            timeout=TIMEOUT_S,
            **{"no-log": True},
        )


def _plain(answer: Any) -> dict[str, Any]:  # noqa: ANN401  # LiteLLM's
    plain: dict[str, Any] = answer.model_dump(mode="json", exclude_none=True, warnings=False)
    return plain
