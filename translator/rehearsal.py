"""Requests that are prepared and not sent: one of each provider before the first that is, and one
of each deployment whose entry names no server.

LiteLLM loads a provider's code when that is first called, which takes longer than a request may;
and a provider whose requests would all be refused is better known at the start. Where requests of
an entry without `api_base` go, LiteLLM alone knows: it is asked with a text that no caller wrote,
so that none can have chosen the answer."""

import logging
from collections.abc import Iterable
from typing import Any

import msgspec

from translator.app import Translates
from translator.asked import read
from translator.deployment import Deployment
from translator.gate import PASSAGE
from translator.origins import named_origins
from translator.passage import Passage

_log = logging.getLogger("comptroller.translator")
_BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 16,
}


class Rehearsals:
    """Of one process, and what they have shown."""

    def __init__(self, engine: Translates) -> None:
        self._engine = engine
        self._tried: set[str] = set()
        self._learned: dict[str, frozenset[str]] = {}

    async def begin(self, deployments: Iterable[Deployment]) -> None:
        """The first deployment of each provider that was not tried yet. What fails is logged:
        others may work."""
        for each in deployments:
            if each.provider not in self._tried:
                self._tried.add(each.provider)
                problem = await self._rehearse(each)
                if problem:
                    _log.error("%s: its requests will be refused: %s", each.label, problem)

    async def origins(self, deployment: Deployment) -> frozenset[str]:
        """Where its requests may go: to the servers that its entry names, else to LiteLLM's own,
        over https. Empty where that cannot be known now; who asks again may be told more."""
        named = named_origins(deployment)
        if named:
            return named
        if deployment.id not in self._learned:
            await self._rehearse(deployment)
        return self._learned.get(deployment.id, frozenset())

    async def _rehearse(self, deployment: Deployment) -> str:
        """Why its requests will be refused; empty where they will not."""
        asked = read(msgspec.json.encode(_BODY))
        named = named_origins(deployment)
        passage = Passage(asked, deployment.label, named or None, is_rehearsal=True)
        token = PASSAGE.set(passage)
        try:
            await self._engine.answer(deployment, asked)
        except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises: nothing is ever sent
            if not passage.has_passed:
                return deployment.without_secrets(str(passage.refusal or error))[:500]
        finally:
            PASSAGE.reset(token)
        if not named and passage.has_passed:
            self._learned[deployment.id] = frozenset((passage.origin,))
        return ""
