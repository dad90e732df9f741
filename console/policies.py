"""From a budget as a request writes it to a policy, and back; complaints name the field."""

from collections.abc import Mapping
from typing import Any

from budgets.policy import DIMENSIONS, Limit, Policy, PolicyInvalid, parse_policy
from console.errors import InvalidRequest
from console.wire import nearest
from pricing import dollars

MESSAGE_CHARS_MAX = 300
MODEL_CHARS_MAX = 256
_LIMIT_FIELDS = [*DIMENSIONS, "window", "models"]
_LISTS = ("limits", "per_child")
_DEFAULT = Policy()


def policy_from(document: Mapping[str, object], inside: str = "") -> Policy:
    """The policy of a mapping as `budgets.policy` has it; `inside` is the field that holds it.
    Raises InvalidRequest."""
    for name, value in document.items():
        param = f"{inside}.{name}" if inside else name
        if name in _LISTS and isinstance(value, list):
            for n, limit in enumerate(value):
                _check_limit(limit, f"{param}.{n}")
        try:
            parse_policy({name: value})
        except PolicyInvalid as error:
            raise _invalid(error, param) from None
    return parse_policy(dict(document))


def _check_limit(limit: object, param: str) -> None:
    if isinstance(limit, dict):
        for name in limit:
            if name not in _LIMIT_FIELDS:
                raise InvalidRequest(nearest(str(name), _LIMIT_FIELDS), param=f"{param}.{name}")
        _check_models(limit.get("models"), f"{param}.models")
    try:
        parse_policy([limit])
    except PolicyInvalid as error:
        raise _invalid(error, param) from None


def _check_models(patterns: object, param: str) -> None:
    """An empty pattern fits no model: its limit would look like one and bind nobody."""
    for each in patterns if isinstance(patterns, list) else ():
        if isinstance(each, str) and not (1 <= len(each) <= MODEL_CHARS_MAX and each.isprintable()):
            raise InvalidRequest(
                f"a pattern of models has 1 to {MODEL_CHARS_MAX} printable characters", param=param
            )


def _invalid(error: PolicyInvalid, param: str) -> InvalidRequest:
    return InvalidRequest(str(error)[:MESSAGE_CHARS_MAX], param=param)


def said_beside_limits(policy: Policy) -> dict[str, Any]:
    """What a policy says beside its limits, where it is not the default, as it would be written."""
    said: dict[str, Any] = {}
    if policy.on_exceed != _DEFAULT.on_exceed:
        said["on_exceed"] = policy.on_exceed
    if policy.per_child:
        said["per_child"] = [_written(each) for each in policy.per_child]
    if policy.share_of_free_percent != _DEFAULT.share_of_free_percent:
        percent = policy.share_of_free_percent
        said["share_of_free"] = f"{percent // 100}.{percent % 100:02d}"
    if policy.output_tokens_default is not None:
        said["output_tokens_default"] = policy.output_tokens_default
    if policy.payloads is not None:
        said["payloads"] = policy.payloads
    if policy.kind:
        said["kind"] = policy.kind
    return said


def _written(limit: Limit) -> dict[str, Any]:
    amount = dollars(limit.amount) if limit.dimension == "usd" else limit.amount
    written: dict[str, Any] = {limit.dimension: amount}
    if limit.dimension != "concurrency":
        written["window"] = limit.window
    if limit.models:
        written["models"] = list(limit.models)
    return written
