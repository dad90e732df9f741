"""A worker's routes have every price that the file or the lists give, and know who bills."""

from pathlib import Path

import pytest

from comptroller.parts import route
from comptroller.settings import load_settings
from gateway.demo import DemoUpstream
from gateway.errors import NotPriced
from gateway.options import GatewayOptions
from gateway.routes import Route
from pricing import Facts, Meters

TOKENS = Meters(text_input=1_000, text_output=100)
GPT = "{model: openai/gpt-5-mini, api_key: k}"
EMBEDDING = "{model: openai/text-embedding-3-small, api_key: k}"


class Owned(DemoUpstream):
    """Never asked anything here."""

    async def close(self, drain_ms: int = 0) -> None:
        """Nothing is open."""


def routes(tmp_path: Path, params: str, info: str = "") -> list[Route]:
    """Those of a file with one model."""
    file = tmp_path / "comptroller.yaml"
    text = f"model_list:\n  - model_name: m\n    litellm_params: {params}\n"
    file.write_text(text + (f"    model_info: {info}\n" if info else ""))
    (entry,) = load_settings(file, {}).models
    return [route(entry, wire, Owned(), GatewayOptions()) for wire in entry.wires]


def test_a_listed_model_has_its_tiers(tmp_path: Path) -> None:
    """Of each wire: a quote and a charge for flex and priority, at the list's prices; a tier that
    is not listed is refused."""
    for each in routes(tmp_path, GPT):
        assert each.biller == "openai"
        standard, dear = each.price, each.prices.quoted("priority")
        assert dear.rates.input_nusd_per_mtok > standard.rates.input_nusd_per_mtok
        assert each.prices.quoted("flex") is each.prices.quoted("") is standard
        cheap = each.prices.charge(TOKENS, Facts(service_tier="flex")).nusd
        assert cheap is not None
        assert cheap * 2 == each.prices.charge(TOKENS, Facts(service_tier="default")).nusd
        with pytest.raises(NotPriced):
            each.prices.quoted("ultrafast")


def test_the_account_s_tier_reaches_its_routes(tmp_path: Path) -> None:
    """What `default_service_tier` says bounds requests that name none."""
    for each in routes(tmp_path, GPT, "{default_service_tier: priority}"):
        assert each.prices.quoted("") == each.prices.quoted("auto")
        assert each.prices.quoted("").version != each.price.version


def test_models_of_one_price_are_priced_by_it(tmp_path: Path) -> None:
    """Embeddings and the demo: by the same version, whichever way."""
    made = routes(tmp_path, EMBEDDING) + routes(tmp_path, "{model: demo/small}")
    for each in made:
        for facts in (Facts(), Facts(service_tier="default")):
            charge = each.prices.charge(Meters(text_input=1_000), facts)
            assert charge.price_version == each.price.version
            assert charge.nusd
