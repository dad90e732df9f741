"""From one attempt to its reservation: quote, reserve, count the input, wait in line."""

from budgets.answers import Refusal, Repeat, Reservation
from gateway.asked import Asked
from gateway.asking import Asking
from gateway.counting import InputCounting
from gateway.errors import InvalidRequest, LedgerGone
from gateway.events import RequestEvent, RequestRecord, worked
from gateway.failures import Failed
from gateway.parts import Parts
from gateway.quoting import Quoting
from gateway.refusing import refused
from gateway.routes import Route
from gateway.spoken import Spoken


class Reserving:
    """Of one worker."""

    def __init__(self, parts: Parts, counting: InputCounting) -> None:
        self._parts = parts
        self._counting = counting

    async def __call__(
        self, asked: Asked, route: Route, sent: Spoken, encoded: bytes
    ) -> Reservation | Repeat | Failed:
        """The grant, or the request that has its mark already, or a refusal that another deployment
        might not meet. What does not fit by its bytes is counted; what others hold is waited for a
        little. Raises GatewayError for what no other deployment would change."""
        try:
            return await self._reserved(asked, route, sent, encoded)
        except InvalidRequest as error:  # no quote at this model's prices
            return Failed("route_refused", error=error)

    async def _reserved(
        self, asked: Asked, route: Route, sent: Spoken, encoded: bytes
    ) -> Reservation | Repeat | Failed:
        """The same. Raises InvalidRequest where there is no quote."""
        parts, path = self._parts, asked.path
        if parts.endings.full:
            raise LedgerGone("too many settlements wait for the ledger: is Redis running?")
        if parts.learning.owes:
            await parts.learning.catch_up(path.organisation)
        id_ = parts.ledger.new_id()
        counting, (dialect, call) = self._counting, sent
        countable = counting.knows(call, route)
        quoting = Quoting.by_bytes(call, route, asked.options, countable=countable)
        event = _event(id_, asked, quoting, dialect.endpoint, len(encoded))
        asking = Asking(parts, path, quoting, RequestRecord(event, encoded), id_, asked.mark)
        answer = await asking.ask(dialect, counting)
        if isinstance(answer, Refusal) and answer.code == "HELD":
            held_at_ms = parts.clock.now_ms()

            async def ask_again() -> Reservation | Refusal:
                waited_ms = parts.clock.now_ms() - held_at_ms
                return await asking.ask_after(waited_ms, dialect, counting)

            answer = await parts.lines.wait(answer, ask_again, asked.request)
        if isinstance(answer, Refusal) and not isinstance(answer, Repeat):
            return refused(parts, answer, asked, event)
        return answer


def _event(
    id_: str, asked: Asked, quoting: Quoting, endpoint: str, request_bytes: int
) -> RequestEvent:
    call, route, key = quoting.call, quoting.route, asked.key
    event = RequestEvent(
        request_id=id_,
        scope=asked.path.scope,
        key_id=key.id,
        agent=key.agent,
        endpoint=endpoint,
        provider=route.provider,
        model_requested=route.name,
        model=route.model,
        streamed=call.stream,
        input_tokens_max=quoting.input_tokens_max,
        output_cap_asked=call.output_cap or 0,
        price_version=quoting.price.version,
        request_bytes=request_bytes,
        payload_state="full",
        correlation_id=asked.first_id,
    )
    return worked(event, key.work)
