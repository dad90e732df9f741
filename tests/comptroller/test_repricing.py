"""A request of the past has the price of today for its own time: the file's, else the lists'."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest

from comptroller.catalogued import installed
from comptroller.repricing import ListedTariff
from comptroller.settings import load_settings
from console.charges import Charged, NotPriced, Owed
from gateway.facts_record import facts_detail
from pricing import DEMO_PRICES, Facts, cost_nusd
from pricing.catalog import Catalog, Entry
from tests.console.test_charges import charged

PLAIN = '{model: openai/plain-1, api_base: "http://127.0.0.1:9/v1", api_key: k}'
OWN = (
    "{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, max_input_tokens: 1000, "
    "max_output_tokens: 100}"
)
DEEPSEEK = '{model: openai/deepseek-flash, api_base: "https://api.deepseek.com/v1", api_key: k}'


@dataclass(frozen=True)
class Listing:
    """Lists that have one price for all, and what a test adds."""

    more: Mapping[str, object]

    def find(self, provider: str, model: str, _: int, /) -> Entry:
        """See pricing.catalog.Catalog."""
        plain = {"input_cost_per_token": "0.000001", "output_cost_per_token": "0.000002"}
        return Entry(provider, model, {**plain, **self.more}, "a test")

    def catalog(self) -> Catalog:
        """As a tariff asks for it."""
        return cast("Catalog", self)


def tariff(
    tmp_path: Path, params: str, info: str = "", catalog: Callable[[], Catalog] = installed
) -> ListedTariff:
    """Of a file with one model `m`."""
    file = tmp_path / "comptroller.yaml"
    text = f"model_list:\n  - model_name: m\n    litellm_params: {params}\n"
    file.write_text(text + (f"    model_info: {info}\n" if info else ""))
    return ListedTariff(load_settings(file, {}).models, catalog)


def used(model: str = "plain-1", /, **changes: Any) -> Charged:
    """Seven tokens in, three of them cached besides, five out and two of reasoning."""
    plain = {"model_requested": "m", "model": model, "price_version": "old"}
    return charged(**(plain | changes))


def at(text: str) -> dict[str, Any]:
    """A request whose answer ended then (UTC)."""
    ended_ms = int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000
    return {"time_ms": ended_ms, "asked_ms": ended_ms - 12}


def test_the_file_s_prices_hold_for_all_times(tmp_path: Path) -> None:
    """They have no days; cached tokens cost what others do where the file does not say."""
    prices = tariff(tmp_path, PLAIN, OWN)
    for moment in ("2024-01-01", "2026-11-28"):
        owed = prices.owed(used(**at(moment)))
        assert owed.cost_nusd == 10 * 1000 + 7 * 2000
    assert (
        owed.price_version
        == load_settings(tmp_path / "comptroller.yaml", {}).models[0].price.version
    )


def test_a_listed_price_is_that_of_its_own_day_and_hour(tmp_path: Path) -> None:
    """By night it is cheaper than what a gateway books, and the version says that it was another
    price."""
    prices = tariff(tmp_path, DEEPSEEK)
    costs = {
        prices.owed(used("deepseek-flash", **at(f"2026-11-27T{hour:02}:30"))) for hour in range(24)
    }
    assert len({each.cost_nusd for each in costs}) == 2
    assert len({each.price_version for each in costs}) == 2
    booked = load_settings(tmp_path / "comptroller.yaml", {}).models[0].price
    assert max(each.cost_nusd for each in costs) == cost_nusd(booked, used().meters)


def test_a_price_that_has_changed_is_that_of_the_day(tmp_path: Path) -> None:
    """What was asked in August has August's price, whatever it costs today; within a day the
    request's own hour, not that of its late truth."""
    prices = tariff(tmp_path, DEEPSEEK.replace("deepseek-flash", "deepseek-v4-pro"))
    august, november = (
        prices.owed(used("deepseek-v4-pro", **at(day))).cost_nusd
        for day in ("2026-08-16T03:00", "2026-11-27T03:00")
    )
    assert august != november
    late = {**at("2026-08-16T03:00"), "time_ms": at("2026-11-27T03:00")["time_ms"]}
    assert prices.owed(used("deepseek-v4-pro", **late)).cost_nusd == august


def test_the_demo_has_its_own(tmp_path: Path) -> None:
    """Without a model_list, too."""
    prices = ListedTariff(load_settings(None, {}).models)
    name = next(iter(DEMO_PRICES))
    demo = charged(provider="demo", model=name, model_requested=name, price_version="old")
    assert prices.owed(demo).cost_nusd == cost_nusd(DEMO_PRICES[name], demo.meters)


@pytest.mark.parametrize(
    "changes", [{"model_requested": "n"}, {"model": "other"}, {"provider": "hosted_vllm"}]
)
def test_whoever_served_it_must_be_in_the_file(tmp_path: Path, changes: dict[str, str]) -> None:
    """A name that somebody else serves now is another price: it is left, and says what to do."""
    with pytest.raises(NotPriced, match="put that entry back"):
        tariff(tmp_path, PLAIN, OWN).owed(used(**changes))


def test_what_events_do_not_tell_is_not_guessed(tmp_path: Path) -> None:
    """Of events from before: video in the column of images and generated images in that of text,
    where their prices differ; where they do not differ, or were not used, there is nothing to tell.
    """
    video = OWN.replace("}", ", input_cost_per_video_token: 0.000009}")
    with pytest.raises(NotPriced, match="video"):
        tariff(tmp_path, PLAIN, video).owed(used(image_input=1))
    assert tariff(tmp_path, PLAIN, video).owed(used()).cost_nusd
    assert tariff(tmp_path, PLAIN, OWN).owed(used(image_input=1)).cost_nusd
    now_paints = Listing({"output_cost_per_image_token": "0.000009"})
    prices = tariff(tmp_path, PLAIN, "{base_model: azure/gpt-5-mini}", now_paints.catalog)
    with pytest.raises(NotPriced, match="generated images"):
        prices.owed(used())


TIERS = OWN.replace(
    "}",
    ", input_cost_per_token_priority: 0.000003, output_cost_per_token_priority: 0.000004, "
    "file_search_cost_per_1k_calls: 2.5, input_cost_per_video_token: 0.000009, "
    "code_interpreter_cost_per_session: 0.03}",
)


def test_an_event_that_tells_all_is_priced_by_what_it_tells(tmp_path: Path) -> None:
    """Its tier, its video apart from its images, and each kind of tool at its own fee."""
    prices = tariff(tmp_path, PLAIN, TIERS)
    assert prices.owed(used(service_tier="default")).cost_nusd == 10 * 1000 + 7 * 2000
    priority = prices.owed(used(service_tier="priority"))
    assert priority.cost_nusd == 10 * 3000 + 7 * 4000
    assert priority.price_version != prices.owed(used(service_tier="default")).price_version
    apart = used(service_tier="default", image_input=1, video_input=2)
    assert prices.owed(apart).cost_nusd == 11 * 1000 + 2 * 9000 + 7 * 2000
    facts = Facts(tools=(("code_interpreter", 1), ("file_search", 2)))
    tools = used(service_tier="default", tool_calls=3, detail=facts_detail(facts, bool))
    assert prices.owed(tools).cost_nusd == 24_000 + 30_000_000 + 2 * 2_500_000


def test_what_the_provider_has_billed_stays(tmp_path: Path) -> None:
    """Whatever it costs by a list, also where a correction had been booked, and where it was
    nothing."""
    prices = tariff(tmp_path, PLAIN, TIERS)
    for reported in (0, 17):
        owed = prices.owed(used(service_tier="default", reported_nusd=reported, charged_nusd=5))
        assert owed == Owed(reported, "old")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"service_tier": "ultrafast"}, "'ultrafast' has no price"),
        ({"service_tier": "default", "search_calls": 1}, "no fee"),
        ({"service_tier": "default", "detail": '{"facts":{"left_out":true}}'}, "left out"),
        ({"service_tier": "default", "detail": "nonsense"}, "no facts"),
        (
            {
                "service_tier": "default",
                "detail": '{"facts":{"sub_uses":[["other",{"text_input":1}]]}}',
            },
            "whose price is needed",
        ),
        (
            {
                "service_tier": "default",
                "detail": '{"facts":{"sub_uses":[["other",{"text_input":99}]]}}',
            },
            "text_input",
        ),
    ],
)
def test_an_event_that_tells_what_has_no_price_is_left(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    """And says why; nothing is guessed."""
    with pytest.raises(NotPriced, match=why):
        tariff(tmp_path, PLAIN, TIERS).owed(used(**changes))


def test_meters_that_do_not_come_to_the_charge_are_left(tmp_path: Path) -> None:
    """By the price that was charged: then the gateway has billed what no column tells. Once it was
    corrected its charge is another price's; an event that names its tier tells everything."""
    prices = tariff(tmp_path, PLAIN, OWN)
    version = prices.owed(used()).price_version
    assert prices.owed(used(price_version=version, charged_nusd=24_000)).cost_nusd == 24_000
    with pytest.raises(NotPriced, match="does not come to"):
        prices.owed(used(price_version=version, charged_nusd=24_001))
    corrected = used(price_version=version, charged_nusd=24_001, last_seq=12)
    assert prices.owed(corrected).cost_nusd == 24_000
    whole = used(price_version=version, charged_nusd=24_001, service_tier="default")
    assert prices.owed(whole).cost_nusd == 24_000
