"""What a configuration declares, and what in it can hardly be meant, for `comptroller check`."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from budgets.subscopes import shown_sources
from pricing import dollars

if TYPE_CHECKING:
    from budgets.policy import Limit, Policy
    from comptroller.settings import DeclaredKey, ModelEntry, Settings


def declared(settings: "Settings") -> dict[str, Any]:
    """As JSON: models with prices, budgets with limits, keys without secrets."""
    return {
        "models": [_model(each) for each in settings.models],
        "budgets": [_budget(scope, policy) for scope, policy in settings.budgets],
        "keys": [_key(each) for each in settings.keys],
    }


def warnings(settings: "Settings") -> list[str]:
    """One sentence for each doubt, in the order of the file."""
    return [
        *_about_models(settings),
        *_about_budgets(settings),
        *_about_keys(settings),
    ]


def _model(entry: "ModelEntry") -> dict[str, Any]:
    price = entry.price
    return {
        "name": entry.name,
        "served_by": f"{entry.provider}/{entry.upstream_model}",
        "input_usd_per_mtok": dollars(price.rates.input_nusd_per_mtok),
        "output_usd_per_mtok": dollars(price.rates.output_nusd_per_mtok),
        "max_input_tokens": price.max_input_tokens,
        "max_output_tokens": price.max_output_tokens,
        "price_version": price.version,
    }


def _budget(scope: str, policy: "Policy") -> dict[str, Any]:
    document: dict[str, Any] = {"scope": scope, "limits": _limits(policy)}
    if policy.per_child:
        document["per_child"] = _limits(policy, of_children=True)
    if policy.on_exceed != "clamp":
        document["on_exceed"] = policy.on_exceed
    if policy.payloads is not None:
        document["payloads"] = policy.payloads
    return document


def _limits(policy: "Policy", *, of_children: bool = False) -> list[dict[str, Any]]:
    return [_limit(each) for each in (policy.per_child if of_children else policy.limits)]


def _limit(limit: "Limit") -> dict[str, Any]:
    """As the admin API says it."""
    amount = dollars(limit.amount) if limit.dimension == "usd" else limit.amount
    document = {"dimension": limit.dimension, "window": limit.window, "limit": amount}
    return {**document, "models": list(limit.models)} if limit.models else document


def _key(key: "DeclaredKey") -> dict[str, Any]:
    document: dict[str, Any] = {"name": key.name, "id": f"key-{key.name}", "scope": key.scope}
    if key.models:
        document["models"] = list(key.models)
    if key.endpoints:
        document["endpoints"] = list(key.endpoints)
    if key.budget.limits:
        document["budget"] = _limits(key.budget)
    if key.expires_in_ms is not None:
        document["expires_in_ms"] = key.expires_in_ms
    if key.agent:
        document["agent"] = key.agent
    if key.tags:
        document["tags"] = dict(key.tags)
    if key.delegates:
        document["delegates"] = True
    if key.subscopes:
        document["subscopes"] = shown_sources(key.subscopes)
    return document


def _about_models(settings: "Settings") -> Iterator[str]:
    for entry in settings.models:
        rates = entry.price.rates
        if not (rates.input_nusd_per_mtok or rates.output_nusd_per_mtok):
            yield f"model {entry.name} is free: no usd limit will ever stop it"
        if entry.calibrated:
            yield (
                f"model {entry.name} has a calibrated bound, learned from what was billed: a "
                "request may cost more than is reserved for it"
            )
        if entry.price.unpriced and entry.listed is None:
            charges = ", ".join(sorted(entry.price.unpriced))
            yield f"model {entry.name} has charges that nobody prices ({charges}): refused"


def _about_budgets(settings: "Settings") -> Iterator[str]:
    used = [f"{key.scope}/key-{key.name}" for key in settings.keys]
    for scope, policy in settings.budgets:
        if not any(each.startswith(f"{scope}/") for each in used):
            yield f"budget {scope}: no key declared here reaches it"
        for limit in (*policy.limits, *policy.per_child):
            yield from _unserved(settings, f"budget {scope}", limit.models)


def _about_keys(settings: "Settings") -> Iterator[str]:
    policies = dict(settings.budgets)
    for key in settings.keys:
        if not key.budget.limits and not _is_bounded(f"{key.scope}/key-{key.name}", policies):
            yield f"key {key.name}: no budget at or above {key.scope}: it can spend without end"
        yield from _unserved(settings, f"key {key.name}", key.models)


def _is_bounded(key_scope: str, policies: "dict[str, Policy]") -> bool:
    """Whether a scope of the path has limits, its own or by a template (which no key scope has)."""
    segments = key_scope.split("/")
    path = ["/".join(segments[: depth + 1]) for depth in range(len(segments))]
    limits = [policies[scope].limits for scope in path if scope in policies]
    templates = [policies[scope].per_child for scope in path[:-2] if scope in policies]
    return any(limits) or any(templates)


def _unserved(settings: "Settings", whose: str, patterns: tuple[str, ...]) -> Iterator[str]:
    for pattern in patterns:
        if not any(fnmatchcase(entry.name, pattern) for entry in settings.models):
            yield f"{whose}: no priced model is called {pattern!r}"
