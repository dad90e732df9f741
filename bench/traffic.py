"""Events as a real gateway makes them: reserved and settled through the ledger's own scripts, on
five scopes, with payloads of words that compress as prose does."""

import asyncio
import random

from budgets.administration import Administration
from budgets.answers import Ask, Reservation, Truth
from budgets.ledger import Ledger
from budgets.plan import Plan, ScopePath
from budgets.policy import Payloads, parse_policy
from budgets.session import Session
from gateway.events import RequestEvent, ResponseEvent, encode

ORGANISATION = "bench"
MODEL = "gpt-5-mini"
ENDPOINT = "/v1/chat/completions"
AT_ONCE = 200
PATH = ScopePath("bench/research/nightly/run-1/write")
_WORDS = [
    "".join(random.Random(n).choices("abcdefghijklmnoprstuvw", k=2 + n % 9)) for n in range(4_000)
]


async def prepare(session: Session) -> None:
    """The organisation, with limits on each of five scopes."""
    await session.open_organisation(ORGANISATION, create=True)
    administration = Administration(session)
    for scope in PATH.nodes():
        policy = parse_policy([{"usd": "1000000"}, {"tokens": 10**12, "window": "day"}])
        await administration.set_policy(scope, policy, encode_policy_event(scope))


def encode_policy_event(scope: str) -> bytes:
    """As the operator's."""
    return encode({"scope": scope, "by": "bench"})


def words(chance: random.Random, size_bytes: int) -> str:
    """Prose of about this size."""
    return " ".join(chance.choices(_WORDS, k=size_bytes // 7))


class Traffic:
    """Calls with bodies of `body_bytes`; the same seed makes the same texts."""

    def __init__(self, ledger: Ledger, body_bytes: int, seed: int = 1) -> None:
        self._ledger = ledger
        self._body_bytes = body_bytes
        self._chance = random.Random(seed)

    async def calls(self, count: int) -> None:
        """So many requests and answers: twice as many events."""
        for first in range(0, count, AT_ONCE):
            await asyncio.gather(*(self.call() for _ in range(min(AT_ONCE, count - first))))

    async def call(self) -> None:
        """One request, and its answer."""
        id_ = self._ledger.new_id()
        prompt = words(self._chance, self._body_bytes)
        body = encode({"model": MODEL, "messages": [{"role": "user", "content": prompt}]})
        event = _request(id_, len(body))

        def recorded(_: Payloads) -> tuple[bytes, bytes]:
            return event, body

        reservation = await self._ledger.reserve(PATH, MODEL, _ask, recorded, id_)
        assert isinstance(reservation, Reservation)
        message = {"role": "assistant", "content": words(self._chance, self._body_bytes)}
        answer = encode({"model": MODEL, "choices": [{"index": 0, "message": message}]})
        nusd = 500_000 + self._chance.randrange(400_000)
        tokens = 400 + self._chance.randrange(300)
        done = _response(reservation, nusd, tokens, len(answer), self._chance.randrange(4_000))
        await self._ledger.settle(ORGANISATION, id_, Truth(nusd, tokens), done, answer)


def _ask(_: Plan) -> Ask:
    return Ask(
        usd_fixed_nusd=250_000,
        usd_pusd_per_output=2_000_000,
        tokens_fixed=1_000,
        tokens_per_output=1,
        output_wanted=1_000,
        output_least=1_000,
    )


def _request(id_: str, body_bytes: int) -> bytes:
    return encode(
        RequestEvent(
            request_id=id_,
            scope=PATH.scope,
            key_id="key-ci",
            agent="writer",
            endpoint=ENDPOINT,
            provider="openai",
            model_requested=MODEL,
            model=MODEL,
            streamed=False,
            input_tokens_max=1_000,
            output_cap_asked=0,
            price_version="abcabcabcabc",
            request_bytes=body_bytes,
            payload_state="full",
        )
    )


def _response(
    reservation: Reservation, nusd: int, tokens: int, body_bytes: int, duration_ms: int
) -> bytes:
    return encode(
        ResponseEvent(
            request_id=reservation.id,
            scope=PATH.scope,
            key_id="key-ci",
            agent="writer",
            endpoint=ENDPOINT,
            provider="openai",
            model_requested=MODEL,
            model=MODEL,
            streamed=False,
            status=200,
            usage_source="provider",
            reserved_nusd=reservation.reserved_nusd,
            charged_nusd=nusd,
            price_version="abcabcabcabc",
            model_served=f"{MODEL}-2026-05-01",
            finish_reason="stop",
            text_input=tokens // 2,
            text_output=tokens - tokens // 2,
            first_byte_ms=duration_ms // 4,
            duration_ms=duration_ms,
            response_bytes=body_bytes,
            payload_state="full",
        )
    )
