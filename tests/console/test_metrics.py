"""What Prometheus reads is what ledger and records have."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from console.options import ConsoleOptions
from tests.budgets.harness import dollars, granted
from tests.console.conftest import nowhere
from tests.console.desk import Console, opened
from tests.recorder.rig import staged

Found = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(console: Console) -> Found:
    """Every sample, by name and labels."""
    answer = await console.call("GET", "/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = list(text_string_to_metric_families(answer.text))
    assert all(each.documentation and each.type == "gauge" for each in families)
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for each in families
        for sample in each.samples
    }


def value(found: Found, name: str, labels: Mapping[str, str]) -> float:
    """One sample."""
    return found[f"comptroller_{name}", frozenset(labels.items())]


async def test_an_allotment_is_a_series_of_its_own(console: Console) -> None:
    """Beside a limit of the same dimension, which would else have the same labels."""
    for scope in ("acme", "acme/run"):
        body = {"scope": scope, "limits": [{"usd": "2.50"}]}
        await console.done("PUT", "/v1/budgets", body)
    allot = console.desk.administration.allot
    await allot("acme/run", {"usd": 10**9}, 2**42, b"{}")
    found = await scraped(console)
    labels = {"scope": "acme/run", "dimension": "usd", "models": ""}
    assert value(found, "budget_free", {**labels, "window": "total"}) == 2.5
    assert value(found, "budget_free", {**labels, "window": "allotment"}) == 1.0
    above = {**labels, "scope": "acme", "window": "total"}
    assert value(found, "budget_allotted", above) == 1.0


async def test_budgets_are_gauges(console: Console) -> None:
    """Dollars are dollars, counts are counts; closed scopes are left out."""
    limits = [{"usd": "2.50", "window": "day"}, {"requests": 9, "models": ["a", "b*"]}]
    await console.done("PUT", "/v1/budgets", {"scope": "acme", "limits": limits})
    await console.done("PUT", "/v1/budgets", {"scope": "acme/over", "limits": limits})
    await console.desk.administration.set_state("acme/over", "close", "workflow_halted", b"{}")
    granted(await console.desk.ask(dollars(500_000_000), scope="acme", model="a"))
    found = await scraped(console)
    usd = {"scope": "acme", "dimension": "usd", "window": "day", "models": ""}
    expected = {"limit": 2.5, "spent": 0, "reserved": 0.5, "allotted": 0, "free": 2.0}
    assert {name: value(found, f"budget_{name}", usd) for name in expected} == expected
    requests = {"scope": "acme", "dimension": "requests", "window": "total", "models": "a,b*"}
    assert value(found, "budget_free", requests) == 8
    assert not any(("scope", "acme/over") in labels for _, labels in found)
    assert value(found, "outbox_events", {"organisation": "acme"}) == 4
    assert value(found, "records_up", {}) == 0
    assert value(found, "metrics_cut", {}) == 0


async def test_today_comes_from_the_records(recorded: Console) -> None:
    """Requests and their cost by organisation and model, as the usage view has them."""
    caller = await recorded.caller()
    await caller.make(5)
    await caller.recorded()
    found = await scraped(recorded)
    query = (
        "SELECT model, sum(requests), sum(charged_nusd) FROM usage WHERE org = {org:String} "
        "GROUP BY model"
    )
    body = {"query": query, "parameters": {"org": caller.organisation}}
    rows = (await recorded.done("POST", "/v1/sql", body))["rows"]
    assert rows
    for model, requests, charged_nusd in rows:
        labels = {"organisation": caller.organisation, "model": model}
        assert value(found, "today_requests", labels) == requests
        assert value(found, "today_cost_usd", labels) == charged_nusd / 10**9
    assert value(found, "records_up", {}) == 1
    assert value(found, "outbox_events", {"organisation": caller.organisation}) == 0


async def test_refusals_are_counted_as_often_as_they_happened(recorded: Console) -> None:
    """One event stands for all refusals of its second: its count is what counts."""
    caller = await recorded.caller()
    for count in (1, 41):
        event = b'{"scope":"x","model_requested":"m","detail":"{\\"count\\":%d}"}' % count
        id_ = caller.desk.session.new_id()
        await caller.desk.administration.append(caller.organisation, id_, "budget_exceeded", event)
    await caller.recorded()
    found = await scraped(recorded)
    labels = {"organisation": caller.organisation, "model": "m"}
    assert value(found, "today_refusals", labels) == 42


async def test_series_are_bounded_and_say_when_they_are_cut() -> None:
    """Never more than the bound, whatever the number of scopes."""
    options = ConsoleOptions(metric_series_max=20)
    async with staged() as stage, opened(stage, nowhere, options) as console:
        for n in range(10):
            body = {"scope": f"acme/{n}", "limits": [{"requests": 1}]}
            await console.done("PUT", "/v1/budgets", body)
        found = await scraped(console)
        assert len(found) == 21
        assert value(found, "metrics_cut", {}) == 1
