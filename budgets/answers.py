"""What is asked of the ledger and what it answers, as values.

Those of every request are Structs and not dataclasses: made in a tenth of the time. The codes are
those of the scripts. A refusal carries the numbers that the caller's error message
needs: which limit, what it has, what was asked, what would fit, and until when.
"""

from dataclasses import dataclass
from typing import Literal, cast

import msgspec

from budgets.learned import RouteBound
from budgets.opening import Opening
from budgets.plan import Bound, Plan, ScopePath
from budgets.policy import Payloads

RefusalCode = Literal[
    "TOO_LARGE",
    "EXHAUSTED",
    "HELD",
    "FROZEN",
    "CLOSED",
    "CLOSING",
    "FENCED",
    "RECOVERING",
    "BACKLOG",
    "REPEATED",
    "LOWERED",
]
MarkState = Literal["running", "settled", "unknown", "expired"]


class Ask(msgspec.Struct, frozen=True):
    """A quote in the ledger's dimensions. An amount is fixed + output * per output token.

    usd is nano-dollars fixed and PICO-dollars per output token; the caller keeps
    `output_wanted * usd_pusd_per_output` below 9e15, so that Lua's doubles stay exact. `route`:
    what is known of the route, as it is in these numbers. `tells_lowered`: where less output than
    is wanted would be granted, that is told instead (LOWERED) and nothing is set aside.
    `input_bytes_max`: the input by its bytes, where a bound is to be learned from it, else 0.
    """

    usd_fixed_nusd: int
    usd_pusd_per_output: int
    tokens_fixed: int
    tokens_per_output: int
    output_wanted: int
    output_least: int
    route: RouteBound | None = None
    tells_lowered: bool = False
    input_bytes_max: int = 0


class Mark(msgspec.Struct, frozen=True):
    """A request that is to happen once: `name` (hex) stands for what its client calls it,
    `asked_sha256` (32 bytes) for what it asks."""

    name: str
    asked_sha256: bytes


class Remaining(msgspec.Struct, frozen=True):
    """What the tightest limit of a dimension has left after a grant."""

    bound: Bound
    amount: int


class Reservation(msgspec.Struct, frozen=True):
    """A grant: `output_tokens` may be produced, and these amounts are set aside under `id`;
    `payloads` is the policy that held then, for the answer too; `mark` is the name of its mark, if
    it has one."""

    id: str
    path: ScopePath
    epoch: int
    seq: int
    granted_at_ms: int
    output_tokens: int
    ask: Ask
    reserved_nusd: int
    reserved_tokens: int
    usd: Remaining | None
    tokens: Remaining | None
    requests: Remaining | None
    payloads: Payloads
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Refusal:
    """No grant. `bound` and the amounts are of the limit that binds (absent for refusals by
    state); `fits_output` is the output that would fit, of LOWERED what would be granted; `until_ms`
    is when it resets or the last lease in its way expires, 0 for never or unknown. `route` as in
    the Ask that was refused."""

    code: RefusalCode
    scope: str
    bound: Bound | None = None
    spent: int = 0
    reserved: int = 0
    allotted: int = 0
    asked: int = 0
    fits_output: int = 0
    until_ms: int = 0
    route: RouteBound | None = None


@dataclass(frozen=True, slots=True)
class Repeat(Refusal):
    """No grant, because request `request_id` has this mark: whether it asked the `same`, what
    became of it, and the nano-dollars that it was charged (`running`: that it reserves)."""

    request_id: str = ""
    same: bool = False
    state: MarkState = "running"
    charged_nusd: int = 0


class Truth(msgspec.Struct, frozen=True):
    """What a request really used; None where it is not known: charged as reserved."""

    usd_nusd: int | None
    tokens: int | None
    requests: int | None = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """A limit as it stands now, in the window that holds the ledger's time."""

    bound: Bound
    spent: int
    reserved: int
    allotted: int

    @property
    def free(self) -> int:
        """What a request may still ask for; negative after an overrun."""
        return self.bound.limit.amount - self.spent - self.reserved - self.allotted


@dataclass(frozen=True, slots=True)
class Checked:
    """The state of a path (`refusal` None: open), its nodes' states, and its limits."""

    refusal: Refusal | None
    time_ms: int
    states: tuple[tuple[str, str], ...]
    standings: tuple[Standing, ...]


STATES = {-1: "unknown", 0: "open", 1: "frozen", 2: "closing", 3: "closed"}


def amount_asked(ask: Ask, output_tokens: int) -> tuple[int, int]:
    """(nano-dollars, tokens) that the scripts set aside for this output."""
    usd = ask.usd_fixed_nusd - (-output_tokens * ask.usd_pusd_per_output // 1000)
    return usd, ask.tokens_fixed + output_tokens * ask.tokens_per_output


def reservation_from(
    reply: list[object],
    id_: str,
    path: ScopePath,
    epoch: int,
    plan: Plan,
    ask: Ask,
    mark: str = "",
) -> Reservation:
    """A GRANTED reply: output, seq, time, then (limit number, free) of usd, tokens, requests."""
    _, output, seq, time_ms, usd, usd_free, tokens, tokens_free, requests, requests_free = cast(
        list[int], reply
    )
    reserved_nusd, reserved_tokens = amount_asked(ask, output)
    return Reservation(
        id_,
        path,
        epoch,
        seq,
        time_ms,
        output,
        ask,
        reserved_nusd,
        reserved_tokens,
        _remaining(plan, usd, usd_free),
        _remaining(plan, tokens, tokens_free),
        _remaining(plan, requests, requests_free),
        plan.payloads,
        mark,
    )


def _remaining(plan: Plan, number: int, free: int) -> Remaining | None:
    return Remaining(plan.bounds[number - 1], free) if number else None


def refusal_from(reply: list[object], plan: Plan | Opening) -> Refusal:
    """Any other reply: a limit's (code, number, limit, spent, reserved, allotted, asked, fits,
    until), a state's (code, node number), or a bare code."""
    code = _text(reply[0])
    if code in ("FROZEN", "CLOSED", "CLOSING", "FENCED"):
        number = reply[1]
        assert isinstance(number, int)
        return Refusal(cast(RefusalCode, code), plan.nodes[number - 1])
    if code in ("TOO_LARGE", "EXHAUSTED", "HELD"):
        number, spent, reserved, allotted, asked, fits, until_ms = (
            each for each in reply[1:] if isinstance(each, int)
        )
        bound = plan.bounds[number - 1]
        return Refusal(
            cast(RefusalCode, code),
            bound.scope,
            bound,
            spent,
            reserved,
            allotted,
            asked,
            fits,
            until_ms,
            plan.route if isinstance(plan, Plan) else None,
        )
    if code == "LOWERED":
        assert isinstance(plan, Plan)
        assert isinstance(reply[1], int)
        return Refusal("LOWERED", plan.nodes[0], fits_output=reply[1], route=plan.route)
    if code in ("RECOVERING", "BACKLOG"):
        return Refusal(cast(RefusalCode, code), plan.nodes[0])
    raise AssertionError(f"the ledger gave an answer that this version does not know: {reply!r}")


def repeat_from(reply: list[object], path: ScopePath) -> Repeat:
    """A REPEATED reply: id, whether it asked the same, state, nano-dollars."""
    _, id_, same, state, charged_nusd = reply
    assert isinstance(charged_nusd, int)
    return Repeat(
        "REPEATED",
        path.nodes()[-1],
        request_id=_text(id_),
        same=same == 1,
        state=cast(MarkState, _text(state)),
        charged_nusd=charged_nusd,
    )


def _text(value: object) -> str:
    assert isinstance(value, bytes)
    return value.decode()
