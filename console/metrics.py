"""GET /metrics for Prometheus: budgets as the ledger has them now, what waits to be recorded, and
what today came to. It tells spending, so it needs a token as any call does."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

from fastapi import FastAPI, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from budgets.answers import Standing
from budgets.overview import SCOPES_AT_ONCE_MAX
from budgets.policy import NUSD_PER_USD
from clickhouse.errors import StoreRefused
from console.auth import Viewer
from console.parts import Parts
from console.records import RecordsAway

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
AMOUNTS = ("limit", "spent", "reserved", "allotted", "free")
_BUDGET_LABELS = ("scope", "dimension", "window", "models")
_GONE = ("closing", "closed")
_MEANINGS = {
    "comptroller_budget_limit": "What a budget allows in its window; usd in dollars.",
    "comptroller_budget_spent": "What was spent of it in the present window.",
    "comptroller_budget_reserved": "What requests in flight have set aside.",
    "comptroller_budget_allotted": "What was moved to children.",
    "comptroller_budget_free": "What a request may still ask for; negative after an overrun.",
    "comptroller_outbox_events": "Events that wait to be recorded.",
    "comptroller_today_requests": "Requests that ended since midnight UTC.",
    "comptroller_today_cost_usd": "What they cost, in dollars.",
    "comptroller_today_refusals": "Requests that a budget refused since midnight UTC.",
    "comptroller_records_up": "Whether the records answered; today's numbers come from them.",
    "comptroller_metrics_cut": "Whether series are missing because there are too many.",
}


@dataclass(slots=True, eq=False)
class Samples(Collector):
    """Values by name and labels, at most `series_max` of them."""

    series_max: int
    is_cut: bool = False
    _count: int = 0
    _values: dict[str, list[tuple[dict[str, str], float]]] = field(default_factory=dict)

    def add(self, name: str, value: float, **labels: str) -> None:
        """One more, or nothing where there are too many."""
        if self._count >= self.series_max:
            self.is_cut = True
            return
        self._count += 1
        self._values.setdefault(name, []).append((labels, value))

    def collect(self) -> Iterator[Metric]:
        """See prometheus_client."""
        cut: list[tuple[dict[str, str], float]] = [({}, float(self.is_cut))]
        for name, samples in {**self._values, "comptroller_metrics_cut": cut}.items():
            family = GaugeMetricFamily(name, _MEANINGS[name], labels=list(samples[0][0]))
            for labels, value in samples:
                family.add_metric(list(labels.values()), value)
            yield family


def add_routes(app: FastAPI, parts: Parts) -> None:
    """GET /metrics."""

    @app.get("/metrics", tags=["metrics"], response_class=Response)
    async def metrics(caller: Viewer) -> Response:
        """All that the caller may see, in Prometheus's text format."""
        samples = Samples(parts.options.metric_series_max)
        names = [caller.organisation] if caller.organisation else await _all(parts)
        for name in names:
            samples.add(
                "comptroller_outbox_events", await parts.overview.waiting(name), organisation=name
            )
        await _today(parts, caller.organisation, samples)
        for name in names:
            async for standing in _standings(parts, name, samples):
                _add_budget(samples, standing)
        registry = CollectorRegistry(auto_describe=False)
        registry.register(samples)
        return Response(generate_latest(registry), headers={"content-type": CONTENT_TYPE})


async def _all(parts: Parts) -> list[str]:
    return await parts.overview.organisations()


async def _standings(parts: Parts, name: str, samples: Samples) -> AsyncIterator[Standing]:
    """Every limit of scopes that are not closed, by scope, until there are too many."""
    after = ""
    while not samples.is_cut:
        scopes = await parts.overview.budgets(name, after=after, limit=SCOPES_AT_ONCE_MAX)
        for each in await parts.overview.standings(name, scopes):
            if each.state not in _GONE:
                for standing in each.standings:
                    yield standing
        if len(scopes) < SCOPES_AT_ONCE_MAX:
            return
        after = scopes[-1]


def _add_budget(samples: Samples, standing: Standing) -> None:
    limit = standing.bound.limit
    window = "allotment" if standing.bound.allotment else limit.window
    labels = dict(
        zip(
            _BUDGET_LABELS,
            (standing.bound.scope, limit.dimension, window, ",".join(limit.models)),
            strict=True,
        )
    )
    amounts = (limit.amount, standing.spent, standing.reserved, standing.allotted, standing.free)
    for name, amount in zip(AMOUNTS, amounts, strict=True):
        value = amount / NUSD_PER_USD if limit.dimension == "usd" else amount
        samples.add(f"comptroller_budget_{name}", value, **labels)


async def _today(parts: Parts, organisation: str, samples: Samples) -> None:
    asked: dict[str, str | int] = {"org": organisation, "limit": parts.options.metric_series_max}
    try:
        usage = await parts.records.rows("today_usage", asked, organisation)
        refusals = await parts.records.rows("today_refusals", asked, organisation)
    except (RecordsAway, StoreRefused):
        samples.add("comptroller_records_up", 0)
        return
    samples.add("comptroller_records_up", 1)
    for row in usage:
        labels = {"organisation": row["org"], "model": row["model"]}
        samples.add("comptroller_today_requests", row["requests"], **labels)
        cost_usd = row["charged_nusd"] / NUSD_PER_USD
        samples.add("comptroller_today_cost_usd", cost_usd, **labels)
    for row in refusals:
        labels = {"organisation": row["org"], "model": row["model"]}
        samples.add("comptroller_today_refusals", row["refusals"], **labels)
