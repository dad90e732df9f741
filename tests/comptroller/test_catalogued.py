"""A model that is listed needs no prices in the file; what the file says wins, and nobody's own
server gets somebody's price."""

from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from comptroller.catalogued import KEPT_MS, biller, completed, missing, now_ms
from comptroller.document import ConfigInvalid
from comptroller.model_list import ModelEntry
from comptroller.settings import load_settings
from pricing.catalog import Catalog, ModelUnknown
from pricing.catalog.overlay import Overlay
from pricing.catalog.source import Listed

OWN = (
    "{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002, max_input_tokens: 1000, "
    "max_output_tokens: 100}"
)
DEEPSEEK = '{model: openai/deepseek-flash, api_base: "https://api.deepseek.com/v1", api_key: k}'


def entry(tmp_path: Path, params: str, info: str = "") -> ModelEntry:
    """The entry of a file with one model; its parameters in line 3, model_info in line 4."""
    file = tmp_path / "comptroller.yaml"
    text = f"model_list:\n  - model_name: m\n    litellm_params: {params}\n"
    file.write_text(text + (f"    model_info: {info}\n" if info else ""))
    return load_settings(file, {}).models[0]


def test_a_listed_model_needs_no_prices(tmp_path: Path) -> None:
    """The catalogue's price, its limits and where they come from."""
    found = entry(tmp_path, "{model: openai/gpt-5-mini, api_key: k}")
    assert found.price.rates.input_nusd_per_mtok == 250_000_000
    assert found.price.rates.cached_input_nusd_per_mtok == 25_000_000
    assert found.price.max_output_tokens == 128_000
    assert found.listed is not None
    assert found.listed.provider == "openai"


def test_the_server_says_whose_price_it_is(tmp_path: Path) -> None:
    """`openai/` is the wire format. By day and by night a route has the price of the peak: its
    quote must hold whenever the request is sent."""
    found = entry(tmp_path, DEEPSEEK)
    assert found.price.provider == "deepseek"
    assert found.price.rates.input_nusd_per_mtok == 300_000_000


def test_long_context_begins_where_the_biller_says(tmp_path: Path) -> None:
    """xAI bills the higher rate from the threshold on, whatever the wire format is called."""
    found = entry(tmp_path, '{model: openai/grok-4.3, api_base: "https://api.x.ai/v1", api_key: k}')
    assert [each.above_input_tokens for each in found.price.tiers] == [199_999]


def test_base_model_names_a_listed_one(tmp_path: Path) -> None:
    """For a deployment with a name of its own, behind any server."""
    params = '{model: openai/our-deployment, api_base: "http://127.0.0.1:9/v1", api_key: k}'
    found = entry(tmp_path, params, "{base_model: azure/gpt-5-mini}")
    assert found.price.rates.output_nusd_per_mtok == 2_000_000_000
    assert found.upstream_model == "our-deployment"


@pytest.mark.parametrize(
    ("params", "info", "whose"),
    [
        ("{model: openai/gpt-5-mini, api_key: k}", "", "openai"),
        ('{model: openai/grok-4.3, api_base: "https://api.x.ai/v1", api_key: k}', "", "xai"),
        (
            '{model: openai/x, api_base: "https://openrouter.ai/api/v1", api_key: k}',
            OWN,
            "openrouter",
        ),
        ('{model: openai/x, api_base: "https://llm.example.com/v1", api_key: k}', OWN, "openai"),
        ('{model: openai/x, api_base: "http://127.0.0.1:9/v1", api_key: k}', OWN, "openai"),
        ('{model: openai/x, api_base: "http://gpu-7/v1", api_key: k}', OWN, "openai"),
        (
            '{model: openai/x, api_base: "http://127.0.0.1:9/v1", api_key: k}',
            OWN.replace("}", ", base_model: openrouter/x}"),
            "openrouter",
        ),
    ],
)
def test_who_bills_is_whose_word_about_a_cost_counts(
    tmp_path: Path, params: str, info: str, whose: str
) -> None:
    """As the list, the server or the file says, also where the file gives the prices; their version
    is that of the wire format all the same."""
    found = entry(tmp_path, params, info)
    assert found.biller == whose
    assert found.sheet.price().version == found.price.version


def test_who_gives_both_prices_means_them(tmp_path: Path) -> None:
    """Only limits are added: the list's price of cached tokens is no part of a negotiated price,
    and what is not said costs as much as is plausible."""
    info = "{input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}"
    found = entry(tmp_path, "{model: openai/gpt-5-mini, api_key: k}", info)
    assert found.price.rates.cached_input_nusd_per_mtok == 1_000_000_000
    assert found.price.max_output_tokens == 128_000


def test_a_single_price_of_the_file_wins_over_the_listed_one(tmp_path: Path) -> None:
    """Key by key."""
    found = entry(
        tmp_path, "{model: openai/gpt-5-mini, api_key: k}", "{output_cost_per_token: 0.000009}"
    )
    assert found.price.rates.output_nusd_per_mtok == 9_000_000_000
    assert found.price.rates.input_nusd_per_mtok == 250_000_000


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        ("{model: hosted_vllm/gpt-5-mini, api_base: 'http://127.0.0.1:9/v1'}", "127.0.0.1"),
        ("{model: openai/gpt-5-mini, api_base: 'https://llm.example.com/v1'}", "base_model"),
        ("{model: openai/gpt-5-minni, api_key: k}", "the nearest: gpt-5-mini"),
        ("{model: openai/whisper-1, api_key: k}", "no usable price"),
    ],
)
def test_what_nobody_lists_is_refused_with_what_to_write(
    tmp_path: Path, params: str, complaint: str
) -> None:
    """A model on somebody's own server is not billed by its maker, however it is called."""
    with pytest.raises(ConfigInvalid, match=complaint):
        entry(tmp_path, params)


def test_a_file_with_all_prices_asks_no_list() -> None:
    """Whoever says everything depends on no list, and does not wait for one."""
    said = {
        "input_cost_per_token": "1",
        "output_cost_per_token": "1",
        "max_input_tokens": 1,
        "max_tokens": 1,
    }

    def never() -> Catalog:
        raise AssertionError("asked")

    assert completed("openai", "x", "", said, never).info == said
    assert missing({}) == [
        *("input_cost_per_token", "output_cost_per_token"),
        *("max_input_tokens", "max_output_tokens"),
    ]
    assert missing({"tiered_pricing": [], "max_input_tokens": 1}) == ["max_output_tokens"]


@pytest.mark.parametrize(
    ("model", "endpoints"),
    [
        ("text-embedding-3-small", ["/v1/embeddings"]),
        ("gpt-3.5-turbo-instruct", ["/v1/completions"]),
        ("gpt-5-mini", ["/v1/chat/completions"]),
    ],
)
def test_a_listed_model_is_served_where_its_kind_is(
    tmp_path: Path, model: str, endpoints: list[str]
) -> None:
    """By the mode that the list says, also where the file has the prices: or the first request
    would find out."""
    params = f"{{model: openai/{model}, api_key: k}}"
    costs = "{input_cost_per_token: 0.1, output_cost_per_token: 0.1}"
    for info in ("", costs):
        found = entry(tmp_path, params, info)
        assert set(endpoints) <= {wire.endpoint for wire in found.wires}
        assert ("/v1/embeddings" in endpoints) == any(not wire.cap_field for wire in found.wires)


def test_an_embedding_model_of_one_s_own_needs_the_price_of_its_input(tmp_path: Path) -> None:
    """`mode: embedding` in the file says that there is no output: no list is asked for one."""
    params = "{model: hosted_vllm/bge, api_base: 'http://127.0.0.1:9/v1'}"
    info = "mode: embedding, input_cost_per_token: 0, max_input_tokens: 512"
    found = entry(tmp_path, params, f"{{{info}}}")
    assert [wire.target for wire in found.wires] == [b"/embeddings"]
    assert found.price.is_free
    assert found.listed is None
    with pytest.raises(ConfigInvalid, match="lacks input_cost_per_token;"):
        entry(tmp_path, params, "{mode: embedding, max_input_tokens: 512}")
    assert missing({"mode": "embedding"}) == ["input_cost_per_token", "max_input_tokens"]


class Rising:
    """A list whose price doubles on a day."""

    name, version = "rising", "1"

    def __init__(self, day: date) -> None:
        self._day = day

    def find(self, lists: Any, names: Any, at_ms: int) -> Listed:  # noqa: ARG002
        began = at_ms >= (self._day - date(1970, 1, 1)).days * 86_400_000
        costs = dict.fromkeys(
            ("input_cost_per_token", "output_cost_per_token"), "2" if began else "1"
        )
        return Listed("m", {**costs, "max_input_tokens": 9}, changes=(self._day,))

    def names(self, lists: Any) -> Any:  # noqa: ARG002
        return iter(())


@pytest.mark.parametrize(("days", "price"), [(2, "2"), (40, "1")])
def test_a_price_that_changes_while_a_gateway_keeps_it_is_the_dearer_one(
    days: int, price: str
) -> None:
    """Routes are priced at the start; a rise within KEPT_MS counts from then on."""
    assert KEPT_MS == 30 * 86_400_000
    day = date(1970, 1, 1) + timedelta(milliseconds=now_ms()) + timedelta(days=days)
    catalog = Catalog(Rising(day), None, Overlay((), {}))
    whole = completed("openai", "m", "", {}, lambda: catalog)
    assert whole.info["input_cost_per_token"] == price


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"base_model": "azure/gpt-5"}, ("azure", "gpt-5")),
        ({"base_model": "gpt-5"}, ("openai", "gpt-5")),
        ({"base_model": "gpt-5", "litellm_provider": "azure"}, ("azure", "gpt-5")),
        ({}, ("openai", "m")),
    ],
)
def test_who_bills_is_said_or_the_provider(
    said: Mapping[str, object], expected: tuple[str, str]
) -> None:
    """As `base_model` has it in LiteLLM's files."""
    assert biller("openai", "m", "", said) == expected


def test_an_own_server_without_an_address_is_nobodys() -> None:
    """Nothing is guessed from the model's name."""
    with pytest.raises(ModelUnknown, match="your own server"):
        biller("hosted_vllm", "m", "", {})
