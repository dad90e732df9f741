"""A bound of the input that is learned from what requests have billed, for routes that opt in.

A byte is never more than a token; most tokens are several bytes. Of a route whose operator has
chosen it, the bound is the highest share of its bytes that any request was seen to bill, and a
margin. That can be wrong by design: a request in another language, or a provider that adds a prompt
of its own, bills more. Then it is an overrun; what was seen is remembered, and the bytes are the
bound again until as many requests as at first have held.
"""

import msgspec

THOUSANDTHS = 1_000
"""The bound by bytes: no learned one is above."""

CALIBRATED_AFTER = 200
"""So many requests one worker must have seen before the route's bound is learned."""

MARGIN_THOUSANDTHS = 250
"""What is added to the highest share that was seen, of itself."""

STEP_THOUSANDTHS = 20
"""Shares are rounded up to whole steps."""


class Calibration(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a route. `bound_thousandths` of its bytes bound the input, 0: all of them
    do; `seen_thousandths`: the highest share that was billed so far."""

    bound_thousandths: int = 0
    seen_thousandths: int = 0

    def tokens_max(self, bytes_max: int) -> int:
        """The bound of an input of so many tokens by its bytes."""
        if not self.bound_thousandths:
            return bytes_max
        return min(bytes_max, -(-bytes_max * self.bound_thousandths // THOUSANDTHS))

    def with_seen(self, thousandths: int) -> "Calibration":
        """After a bill of this share: beyond the bound, the bytes bound again."""
        if thousandths <= self.seen_thousandths:
            return self
        holds = thousandths <= self.bound_thousandths
        return Calibration(self.bound_thousandths if holds else 0, thousandths)

    def calibrated(self, thousandths: int) -> "Calibration":
        """After enough requests of which none billed more than this share. The same where no bound
        below the bytes follows, or one is known."""
        seen = max(thousandths, self.seen_thousandths)
        bound = bound_of(seen)
        if self.bound_thousandths or bound >= THOUSANDTHS:
            return self
        return Calibration(bound, seen)


NOT_CALIBRATED = Calibration()


def bound_of(seen_thousandths: int) -> int:
    """The share with its margin, rounded up to a step."""
    wide = seen_thousandths * (THOUSANDTHS + MARGIN_THOUSANDTHS)
    return max(1, -(-wide // (THOUSANDTHS * STEP_THOUSANDTHS))) * STEP_THOUSANDTHS


def share_thousandths(billed_tokens: int, bytes_max: int) -> int:
    """The share of its bytes that an input was billed, rounded up."""
    return -(-billed_tokens * THOUSANDTHS // max(1, bytes_max))
