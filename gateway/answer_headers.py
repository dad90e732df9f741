"""The headers that tell a caller what its request cost and what its budget has left."""

from budgets.answers import Remaining, Reservation
from gateway.request import Headers
from pricing import dollars


def grant_headers(
    reservation: Reservation, cost_nusd: int | None, tokens_back: int, *, lowered: bool
) -> Headers:
    """`x-comptroller-*`, and `x-ratelimit-*` as OpenAI names them.

    `cost_nusd` None: not known yet (a stream). Remaining amounts are of the tightest limit and
    include what this request gave back, `tokens_back` of its tokens.
    """
    headers: Headers = [
        (b"x-comptroller-request-id", reservation.id.encode()),
        (b"x-comptroller-reserved-usd", dollars(reservation.reserved_nusd).encode()),
    ]
    if cost_nusd is not None:
        headers.append((b"x-comptroller-cost-usd", dollars(cost_nusd).encode()))
    usd = reservation.usd
    if usd is not None:
        back = 0 if cost_nusd is None else reservation.reserved_nusd - cost_nusd
        headers.append((b"x-comptroller-scope", usd.bound.scope.encode()))
        headers.append((b"x-comptroller-remaining-usd", dollars(usd.amount + back).encode()))
    if lowered:
        cap = str(reservation.output_tokens).encode()
        headers.append((b"x-comptroller-max-output-tokens", cap))
    _add_rate_limit(headers, b"requests", reservation.requests, 0, reservation.granted_at_ms)
    _add_rate_limit(headers, b"tokens", reservation.tokens, tokens_back, reservation.granted_at_ms)
    return headers


def _add_rate_limit(
    headers: Headers, what: bytes, remaining: Remaining | None, back: int, now_ms: int
) -> None:
    if remaining is None:
        return
    headers.append((b"x-ratelimit-limit-" + what, str(remaining.bound.limit.amount).encode()))
    headers.append(
        (b"x-ratelimit-remaining-" + what, str(max(0, remaining.amount + back)).encode())
    )
    if remaining.bound.resets_at_ms:
        reset_s = max(0, -(-(remaining.bound.resets_at_ms - now_ms) // 1000))
        headers.append((b"x-ratelimit-reset-" + what, b"%ds" % reset_s))
