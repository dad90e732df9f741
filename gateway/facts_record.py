"""What an answer's price depends on beside its meters, as its event keeps it.

The tier has a column. The rest is rare, and stands in `detail` as `{"facts": {...}}`: a region,
fast mode, which tools were called, which tokens other models used. Whoever prices the event again
reads it here, or is told that it was left out.
"""

from collections.abc import Callable
from dataclasses import asdict

import msgspec

from gateway.dialects.contract import Usage
from pricing import Facts, Meters, SubUse

DEFAULT_TIER = "default"
"""What `service_tier` says of an answer that names none."""
DETAIL_CHARS_MAX = 4_096
"""As long as a writer's text may be (clickhouse.events)."""


class FactsLeftOut(Exception):
    """An event whose facts were too long, or not to be recorded."""


class RecordedFacts(msgspec.Struct, frozen=True, omit_defaults=True):
    """As `pricing.Facts`; `sub_uses`: (model, {meter: count}). `left_out`: there were some, and
    they are not here."""

    batch: bool = False
    region: str = ""
    fast: bool = False
    cached_audio: int = 0
    tools: tuple[tuple[str, int], ...] = ()
    sub_uses: tuple[tuple[str, dict[str, int]], ...] = ()
    left_out: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What the provider wrote."""
        kinds, models = (kind for kind, _ in self.tools), (model for model, _ in self.sub_uses)
        return tuple(each for each in (self.region, *kinds, *models) if each)


class _Detail(msgspec.Struct, frozen=True):
    facts: RecordedFacts


_NONE = RecordedFacts()
_LEFT_OUT = msgspec.json.encode(_Detail(RecordedFacts(left_out=True))).decode()
_decode = msgspec.json.Decoder(_Detail).decode


def tier_served(usage: Usage) -> str:
    """`service_tier` of an answer's event: the provider's word, or DEFAULT_TIER where it says what
    was used and not how. Empty without usage, so that a tier tells that all columns were there."""
    if usage.meters is None:
        return ""
    return usage.facts.service_tier or DEFAULT_TIER


def facts_detail(facts: Facts, may_keep: Callable[[str], object]) -> str:
    """`detail` of an answer's event; empty, almost always, where its facts are in columns.
    `may_keep`: whether a word of the provider's may be recorded."""
    has_tokens = facts.cached_audio or facts.sub_uses
    if not (has_tokens or facts.tools or facts.region or facts.fast or facts.batch):
        return ""
    kept = RecordedFacts(
        batch=facts.batch,
        region=facts.region,
        fast=facts.fast,
        cached_audio=facts.cached_audio,
        tools=facts.tools,
        sub_uses=tuple((each.model, _counts(each.meters)) for each in facts.sub_uses),
    )
    if not all(map(may_keep, kept.names)):
        return _LEFT_OUT
    text = msgspec.json.encode(_Detail(kept)).decode()
    return text if len(text) <= DETAIL_CHARS_MAX else _LEFT_OUT


def facts_of(detail: str, service_tier: str, at_ms: int) -> Facts:
    """The facts of an event, as it was priced, at a time. Raises FactsLeftOut."""
    kept = _NONE
    if detail:
        try:
            kept = _decode(detail).facts
        except msgspec.MsgspecError as error:
            raise FactsLeftOut(f"its detail has no facts: {error}") from None
    if kept.left_out:
        raise FactsLeftOut("its event says that what its price depends on was left out")
    try:
        sub_uses = tuple(SubUse(model, Meters(**counts)) for model, counts in kept.sub_uses)
    except (TypeError, ValueError) as error:
        raise FactsLeftOut(f"its detail has no meters: {error}") from None
    return Facts(
        service_tier=service_tier,
        batch=kept.batch,
        region=kept.region,
        fast=kept.fast,
        at_ms=at_ms,
        cached_audio=kept.cached_audio,
        tools=kept.tools,
        sub_uses=sub_uses,
    )


def _counts(meters: Meters) -> dict[str, int]:
    return {name: count for name, count in asdict(meters).items() if count}
