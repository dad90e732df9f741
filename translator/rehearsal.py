"""One request of each provider that is prepared and not sent, before the first that is.

LiteLLM loads a provider's code when that is first called, which takes longer than a request may;
and a provider whose requests would all be refused is better known at the start."""

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from translator.asked import read
from translator.deployment import Deployment
from translator.engine import Engine
from translator.gate import PASSAGE
from translator.passage import Passage

_log = logging.getLogger("comptroller.translator")
_BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 16,
}


async def rehearse(deployments: Iterable[Deployment], engine: Engine) -> None:
    """The first deployment of each provider. What fails is logged: others may work."""
    seen: set[str] = set()
    for each in deployments:
        if each.provider not in seen:
            seen.add(each.provider)
            await _rehearse(each, engine)


async def _rehearse(deployment: Deployment, engine: Engine) -> None:
    name = f"{deployment.provider}/{deployment.model}"
    passage = Passage(read(msgspec.json.encode(_BODY)), name, is_rehearsal=True)
    token = PASSAGE.set(passage)
    try:
        await engine.answer(deployment, passage.asked)
    except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises: nothing is ever sent
        if not passage.has_passed:
            _log.error(
                "%s: its requests will be refused: %s",
                name,
                deployment.without_secrets(str(passage.refusal or error))[:500],
            )
    finally:
        PASSAGE.reset(token)
