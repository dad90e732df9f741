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
from console.charges import Charged, NotPriced
from pricing import DEMO_PRICES, cost_nusd
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
    """Video in the column of images and generated images in that of text, where their prices
    differ; where they do not differ, or were not used, there is nothing to tell."""
    video = OWN.replace("}", ", input_cost_per_video_token: 0.000009}")
    with pytest.raises(NotPriced, match="video"):
        tariff(tmp_path, PLAIN, video).owed(used(image_input=1))
    assert tariff(tmp_path, PLAIN, video).owed(used()).cost_nusd
    assert tariff(tmp_path, PLAIN, OWN).owed(used(image_input=1)).cost_nusd
    now_paints = Listing({"output_cost_per_image_token": "0.000009"})
    prices = tariff(tmp_path, PLAIN, "{base_model: azure/gpt-5-mini}", now_paints.catalog)
    with pytest.raises(NotPriced, match="generated images"):
        prices.owed(used())


def test_meters_that_do_not_come_to_the_charge_are_left(tmp_path: Path) -> None:
    """By the price that was charged: then the gateway has billed what no column tells. Once it was
    corrected its charge is another price's."""
    prices = tariff(tmp_path, PLAIN, OWN)
    version = prices.owed(used()).price_version
    assert prices.owed(used(price_version=version, charged_nusd=24_000)).cost_nusd == 24_000
    with pytest.raises(NotPriced, match="does not come to"):
        prices.owed(used(price_version=version, charged_nusd=24_001))
    corrected = used(price_version=version, charged_nusd=24_001, last_seq=12)
    assert prices.owed(corrected).cost_nusd == 24_000
