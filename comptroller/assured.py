"""No process opens a ledger that may lose money: what serves as one is looked at first.

The embedded server is started by us as it must be. Any other is asked what it is, by `up` and by
each part that it starts, because a part may be started again when the server is another one.
"""

import asyncio
import logging

from budgets.redisurl import parse_redis_url
from budgets.safety import Judgement, judge_ledger, refuse_unsafe
from budgets.transport import LedgerUnavailable
from comptroller.data_dir import absolute
from comptroller.parts import ledger_transport
from comptroller.settings import Settings

ASK_AGAIN_S = 1.0
_log = logging.getLogger("comptroller.ledger")


def assure(settings: Settings, *, waits: bool = False) -> None:
    """Returns when the ledger of these settings may be used; warnings are logged. With `waits` a
    server that does not answer is waited for. Raises UnsafeLedger, LedgerUnavailable."""
    if _is_ours(settings):
        return
    judged = asyncio.run(_judged(settings, waits=waits))
    refuse_unsafe(judged)
    for each in judged:
        if each.verdict == "warn":
            _log.warning("the Redis at %s: %s -> %s", each.server, each.message, each.do)


def _is_ours(settings: Settings) -> bool:
    own = f"unix://{absolute(settings.data_dir) / 'ledger.sock'}"
    return settings.redis_url in ("", own)


async def _judged(settings: Settings, *, waits: bool) -> list[Judgement]:
    while True:
        try:
            return await judgements(settings)
        except LedgerUnavailable as error:
            if not waits:
                raise
            _log.warning("%s", error)
            await asyncio.sleep(ASK_AGAIN_S)


async def judgements(settings: Settings) -> list[Judgement]:
    """What is to be said of each server of the ledger. Raises LedgerUnavailable."""
    transport = ledger_transport(settings.redis_url)
    try:
        url = parse_redis_url(settings.redis_url)
        return await judge_ledger(transport, url, unchecked=settings.redis_unchecked)
    finally:
        await transport.close()
