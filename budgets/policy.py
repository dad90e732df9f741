"""What a scope's budget says: limits, the template for its children, and how to grant.

A policy is stored as JSON beside the ledger and cached by workers under the scope's version. Its
amounts are decimal strings of integers, because JSON numbers lose digits in Lua and JavaScript.
"""

import fnmatch
import re
from collections.abc import Iterable
from decimal import Decimal, localcontext
from typing import Literal

import msgspec

from budgets.calibration import Calibration
from budgets.learned import Learned, is_route_scope

Dimension = Literal["usd", "tokens", "requests", "concurrency"]
Window = Literal["total", "minute", "hour", "day", "week", "month"]
OnExceed = Literal["clamp", "refuse"]
Payloads = Literal["full", "redacted", "hash", "off"]

DIMENSIONS: tuple[Dimension, ...] = ("usd", "tokens", "requests", "concurrency")
WINDOWS: tuple[Window, ...] = ("total", "minute", "hour", "day", "week", "month")
# Each records less of prompts and answers than the one before it.
PAYLOADS: tuple[Payloads, ...] = ("full", "redacted", "hash", "off")
NUSD_PER_USD = 10**9
# Sums of counters stay exact in the doubles of Lua (2**53) with room for overruns.
AMOUNT_MAX = 8 * 10**15
POLICY_FIELDS = (
    *("limits", "per_child", "on_exceed", "share_of_free", "output_tokens_default"),
    *("payloads", "kind"),
)
LIMITS_PER_SCOPE_MAX = 16
MODELS_PER_LIMIT_MAX = 32
NUMBER_CHARS_MAX = 40
SEGMENTS_MAX = 16
SEGMENT_BYTES_MAX = 64
_SEGMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@:+=~-]*")


class PolicyInvalid(ValueError):
    """A budget or a scope is not well formed; the message says what to write instead."""


class Limit(msgspec.Struct, frozen=True, omit_defaults=True):
    """A bound: `amount` of a dimension (usd in nano-dollars) in each window.

    `id` is `<seq>.<n>` of the event that created it, or `@.<n>` before that; `models` are shell
    patterns, empty for all.
    """

    id: str
    dimension: Dimension
    window: Window
    amount_text: str = msgspec.field(name="amount")
    models: tuple[str, ...] = ()

    @property
    def amount(self) -> int:
        """Nano-dollars, tokens, requests, or requests in flight."""
        return int(self.amount_text)

    @property
    def identity(self) -> tuple[Dimension, Window, tuple[str, ...]]:
        """What makes two limits the same one; a changed amount does not."""
        return self.dimension, self.window, self.models

    def covers(self, model: str) -> bool:
        """Whether a request for this model counts against the limit."""
        return not self.models or any(fnmatch.fnmatchcase(model, each) for each in self.models)


class Policy(msgspec.Struct, frozen=True, omit_defaults=True):
    """A scope's budget. `share_of_free_percent` bounds one grant while others are open;
    `output_tokens_default` stands for a cap that the client did not send; `payloads` is what may
    be recorded of prompts and answers at most, None for what holds above. `learned` and
    `calibration` are there for the scopes of routes only (budgets.learned); nobody writes them."""

    kind: str = ""
    limits: tuple[Limit, ...] = ()
    per_child: tuple[Limit, ...] = ()
    on_exceed: OnExceed = "clamp"
    share_of_free_percent: int = 25
    output_tokens_default: int | None = None
    payloads: Payloads | None = None
    learned: Learned | None = None
    calibration: Calibration | None = None


def parse_scope(text: str) -> tuple[str, ...]:
    """The segments of a scope path. Raises PolicyInvalid."""
    segments = tuple(text.split("/")) if isinstance(text, str) else ()
    if not 1 <= len(segments) <= SEGMENTS_MAX:
        raise PolicyInvalid(
            f"a scope has 1 to {SEGMENTS_MAX} segments, as in acme/research: {text!r}"
        )
    if is_route_scope(text):
        raise PolicyInvalid(
            f"{text!r} is what was learned of a route, and no budget: it is raised by what the "
            "route bills, and begins anew when the model_info of its model says another bound"
        )
    for segment in segments:
        if len(segment) > SEGMENT_BYTES_MAX or not _SEGMENT.fullmatch(segment):
            raise PolicyInvalid(
                f"scope segment {segment!r} must start with a letter or digit, hold only letters, "
                f"digits and . _ @ : + = ~ -, and have at most {SEGMENT_BYTES_MAX} characters"
            )
    return segments


def ancestors(scope: str) -> tuple[str, ...]:
    """The scope and all above it, organisation first."""
    segments = scope.split("/")
    return tuple("/".join(segments[: depth + 1]) for depth in range(len(segments)))


def parse_policy(document: object) -> Policy:
    """A budget as users write it: a list of limits, or a mapping with `limits`, `per_child`,
    `on_exceed`, `share_of_free`, `output_tokens_default`, `payloads`, `kind`. Raises
    PolicyInvalid."""
    if isinstance(document, list):
        document = {"limits": document}
    if not isinstance(document, dict):
        raise PolicyInvalid("a budget is a list of limits, as in [{usd: '5.00', window: month}]")
    for name in document:
        if name not in POLICY_FIELDS:
            raise PolicyInvalid(
                f"unknown field {name!r} in a budget; known: {', '.join(sorted(POLICY_FIELDS))}"
            )
    on_exceed = document.get("on_exceed", "clamp")
    if on_exceed not in ("clamp", "refuse"):
        raise PolicyInvalid(f"on_exceed is clamp or refuse, not {on_exceed!r}")
    kind = document.get("kind", "")
    if not isinstance(kind, str):
        raise PolicyInvalid("kind is a word, as in project")
    return Policy(
        kind=kind,
        limits=_limits(document.get("limits", []), "limits"),
        per_child=_limits(document.get("per_child", []), "per_child"),
        on_exceed=on_exceed,
        share_of_free_percent=_share(document.get("share_of_free", "0.25")),
        output_tokens_default=_output_default(document.get("output_tokens_default")),
        payloads=_payloads(document["payloads"]) if "payloads" in document else None,
    )


def strictest(payloads: Iterable[Payloads]) -> Payloads:
    """The one that records least, so that nobody below can weaken what was decided above."""
    return max(payloads, key=PAYLOADS.index)


def named_after(policy: Policy, earlier: Policy) -> Policy:
    """The policy with the ids of the earlier limits that it keeps, placeholders for new ones."""
    known = {limit.identity: limit.id for limit in earlier.limits}
    known_children = {limit.identity: limit.id for limit in earlier.per_child}
    limits = tuple(
        msgspec.structs.replace(limit, id=known.get(limit.identity, f"@.{n}"))
        for n, limit in enumerate(policy.limits)
    )
    per_child = tuple(
        msgspec.structs.replace(limit, id=known_children.get(limit.identity, f"@.{n}"))
        for n, limit in enumerate(policy.per_child, start=len(policy.limits))
    )
    return msgspec.structs.replace(policy, limits=limits, per_child=per_child)


def encode_policy(policy: Policy) -> bytes:
    """The stored form."""
    return msgspec.json.encode(policy)


def decode_policy(stored: bytes) -> Policy:
    """From the stored form; an empty one is a scope without a budget of its own."""
    return msgspec.json.decode(stored, type=Policy) if stored else Policy()


def _limits(document: object, where: str) -> tuple[Limit, ...]:
    if not isinstance(document, list):
        raise PolicyInvalid(f"{where} is a list, as in [{{usd: '5.00', window: month}}]")
    if len(document) > LIMITS_PER_SCOPE_MAX:
        raise PolicyInvalid(f"{where} holds at most {LIMITS_PER_SCOPE_MAX} limits")
    limits = tuple(_limit(each) for each in document)
    if len({limit.identity for limit in limits}) < len(limits):
        raise PolicyInvalid(f"{where} names one dimension and window twice: keep the lower limit")
    return limits


def _limit(document: object) -> Limit:
    if not isinstance(document, dict):
        raise PolicyInvalid(
            f"a limit is a mapping, as in {{usd: '5.00', window: month}}: {document!r}"
        )
    dimensions: list[Dimension] = [name for name in DIMENSIONS if name in document]
    if len(dimensions) != 1:
        raise PolicyInvalid(f"a limit names one of {', '.join(DIMENSIONS)}: {document!r}")
    dimension = dimensions[0]
    unknown = set(document) - {dimension, "window", "models"}
    if unknown:
        raise PolicyInvalid(
            f"unknown field {min(unknown, key=str)!r} in a limit; known: window, models"
        )
    window = document.get("window", "total")
    if window not in WINDOWS:
        raise PolicyInvalid(f"window is one of {', '.join(WINDOWS)}, not {window!r}")
    if dimension == "concurrency" and window != "total":
        raise PolicyInvalid("concurrency has no window: it bounds requests in flight")
    amount = parse_amount(dimension, document[dimension])
    return Limit("@.0", dimension, window, str(amount), _models(document.get("models", [])))


def parse_amount(dimension: Dimension, value: object) -> int:
    """Nano-dollars from a decimal string of dollars, or a whole count. Raises PolicyInvalid."""
    if dimension != "usd":
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= AMOUNT_MAX:
            raise PolicyInvalid(
                f"{dimension} is a whole number from 0 to {AMOUNT_MAX}, not {value!r}"
            )
        return value
    nusd = _decimal(value, NUSD_PER_USD)
    if nusd is None or nusd != nusd.to_integral_value() or not 0 <= nusd <= AMOUNT_MAX:
        raise PolicyInvalid(
            f"usd is dollars as a decimal string, as in '5.00', from 0 to "
            f"{AMOUNT_MAX // NUSD_PER_USD} with at most nine decimals, not {str(value)[:40]!r}"
        )
    return int(nusd)


def _decimal(value: object, times: int) -> Decimal | None:
    """The exact product of a number as users write it; None for anything else."""
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        return None
    if len(text) > NUMBER_CHARS_MAX:
        return None
    try:
        number = Decimal(text)
        if not number.is_finite() or abs(number.adjusted()) > NUMBER_CHARS_MAX:
            return None
        with localcontext() as context:
            context.prec = 4 * NUMBER_CHARS_MAX  # more digits than any product here has
            return number * times
    except ArithmeticError:
        return None


def _models(document: object) -> tuple[str, ...]:
    if not isinstance(document, list) or not all(isinstance(each, str) for each in document):
        raise PolicyInvalid("models is a list of patterns, as in ['gpt-5*']")
    if len(document) > MODELS_PER_LIMIT_MAX:
        raise PolicyInvalid(f"models holds at most {MODELS_PER_LIMIT_MAX} patterns")
    return tuple(sorted(document))


def _share(value: object) -> int:
    percent = _decimal(value, 100)
    if percent is None or percent != percent.to_integral_value() or not 1 <= percent <= 100:
        raise PolicyInvalid(
            f"share_of_free is from 0.01 to 1 in hundredths, not {str(value)[:40]!r}"
        )
    return int(percent)


def _output_default(value: object) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10**7:
        raise PolicyInvalid(f"output_tokens_default is a whole number from 1, not {value!r}")
    return value


def _payloads(value: object) -> Payloads:
    """A policy by its name. A null one is refused: whoever wrote the field meant to say more than
    "as above"."""
    if value is False:
        return "off"  # what YAML 1.1 makes of a bare `off`
    for each in PAYLOADS:
        if value == each:
            return each
    raise PolicyInvalid(
        f"payloads is one of {', '.join(PAYLOADS)} (leave it out to inherit), "
        f"not {str(value)[:40]!r}"
    )
