"""Requests that are prepared and not sent: one of each provider before the first that is, and one
of each deployment whose entry names no server.

LiteLLM loads a provider's code when that is first called, which takes longer than a request may;
and a provider whose requests would all be refused is better known at the start. Where requests of
an entry without `api_base` go, LiteLLM alone knows: it is asked with a text that no caller wrote,
so that none can have chosen the answer."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
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
AGAIN_S = 10.0
"""After a rehearsal that failed: until then its deployment's requests are refused at once."""
REHEARSAL_S_MAX = 60.0  # all requests of its deployment wait for it
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
    """Of one process, and what they have shown, by the deployments' ids: `_known`, where requests
    may go; `_failed`, why they are refused, and until when."""

    def __init__(self, engine: Translates, now_s: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._now_s = now_s
        self._tried: set[str] = set()
        self._known: dict[str, frozenset[str]] = {}
        self._failed: dict[str, tuple[str, float]] = {}
        self._running: dict[str, asyncio.Task[str]] = {}

    async def begin(self, deployments: Iterable[Deployment]) -> None:
        """The first deployment of each provider that was not tried yet. What fails is logged:
        others may work."""
        for each in deployments:
            if each.provider not in self._tried:
                self._tried.add(each.provider)
                await self._problem(each)

    async def origins(self, deployment: Deployment) -> frozenset[str]:
        """Where its requests may go: to the servers that its entry names, else to LiteLLM's own,
        over https. Raises Refused where that is not known now; who asks again may be told more."""
        if deployment.id not in self._known:
            named = named_origins(deployment)
            if named:
                self._known[deployment.id] = named
            elif problem := await self._problem(deployment):
                raise Refused(problem)
        return self._known[deployment.id]

    async def _problem(self, deployment: Deployment) -> str:
        """What a rehearsal has shown: the last one, where it failed a moment ago, else one for all
        who ask while it goes on. Whoever of them leaves does not end it."""
        problem, until_s = self._failed.get(deployment.id, ("", 0.0))
        if problem and self._now_s() < until_s:
            return problem
        running = self._running.get(deployment.id)
        if running is None:
            running = asyncio.create_task(self._rehearse(deployment))
            self._running[deployment.id] = running
            running.add_done_callback(lambda _: self._running.pop(deployment.id))
        return await asyncio.shield(running)

    async def _rehearse(self, deployment: Deployment) -> str:
        """Why its requests will be refused, logged and noted; empty where they will not."""
        asked = read(msgspec.json.encode(_BODY))
        named = named_origins(deployment)
        passage = Passage(asked, deployment.label, named or None, is_rehearsal=True)
        said = await self._unsent(deployment, passage)
        if passage.has_passed:
            self._known[deployment.id] = named or frozenset((passage.origin,))
            return ""
        if passage.refusal is not None:
            problem = passage.refusal.message
        else:
            problem = said if named else _NOT_LEARNED + said
        _log.error("%s: its requests will be refused: %s", deployment.label, problem)
        self._failed[deployment.id] = problem, self._now_s() + AGAIN_S
        return problem

    async def _unsent(self, deployment: Deployment, passage: Passage) -> str:
        """What LiteLLM says of a request that the passage keeps."""
        PASSAGE.set(passage)  # of this rehearsal's task alone
        try:
            async with asyncio.timeout(REHEARSAL_S_MAX):
                await self._engine.answer(deployment, passage.asked)
        except Exception as error:  # noqa: BLE001  # whatever LiteLLM raises: nothing is ever sent
            said = str(error) or type(error).__name__
            return deployment.without_secrets(said)[:SAID_CHARS_MAX]
        return "it sent nothing"
