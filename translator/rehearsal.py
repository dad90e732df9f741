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
from translator.errors import Refused
from translator.gate import PASSAGE
from translator.origins import named_origins
from translator.passage import Passage

SAID_CHARS_MAX = 500
_log = logging.getLogger("comptroller.translator")
_BODY: dict[str, Any] = {
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 16,
}
_NOT_LEARNED = (
    "to which server of this model's provider LiteLLM goes could not be learned; ask again, or "
    "write the server into the entry, as api_base: "
)


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
                await self._rehearse(each)

    async def origins(self, deployment: Deployment) -> frozenset[str]:
        """Where its requests may go: to the servers that its entry names, else to LiteLLM's own,
        over https. Raises Refused where that is not known now; who asks again may be told more."""
        named = named_origins(deployment)
        if named:
            return named
        if deployment.id not in self._learned:
            problem = await self._rehearse(deployment)
            if problem:
                raise Refused(problem)
        return self._learned[deployment.id]

    async def _rehearse(self, deployment: Deployment) -> str:
        """Why its requests will be refused, which is logged; empty where they will not."""
        asked = read(msgspec.json.encode(_BODY))
        named = named_origins(deployment)
        passage = Passage(asked, deployment.label, named or None, is_rehearsal=True)
        said = await self._unsent(deployment, passage)
        if passage.has_passed:
            if not named:
                self._learned[deployment.id] = frozenset((passage.origin,))
            return ""
        if passage.refusal is not None:
            problem = passage.refusal.message
        else:
            problem = said if named else _NOT_LEARNED + said
        _log.error("%s: its requests will be refused: %s", deployment.label, problem)
        return problem

    async def _unsent(self, deployment: Deployment, passage: Passage) -> str:
        """What LiteLLM says of a request that the passage keeps."""
        token = PASSAGE.set(passage)
        try:
            await self._engine.answer(deployment, passage.asked)
        except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises: nothing is ever sent
            said = str(error) or type(error).__name__
            return deployment.without_secrets(said)[:SAID_CHARS_MAX]
        finally:
            PASSAGE.reset(token)
        return "it sent nothing"
