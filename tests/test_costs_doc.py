"""docs/costs.md says what the code does: its example is run, its tables are the code's."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from pricing import Facts, Meters, PriceInvalid, cost, sheet_from_model_info
from pricing.usage import APIS

TEXT = (Path(__file__).parent.parent / "docs" / "costs.md").read_text(encoding="utf-8")
TOKENS: dict[str, object] = {
    "input_cost_per_token": "0.00001",
    "output_cost_per_token": "0.00001",
}


def _table(heading: str) -> list[str]:
    """The names in code in the first column of the table under a heading."""
    section = TEXT.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`.+?) \|", section, re.MULTILINE)
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def test_its_example_costs_what_it_says() -> None:
    """The program of the page is run, and the number beside it is its result."""
    found = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    said = re.search(r"used\.facts\)  # (\d+)\n", TEXT)
    assert found is not None
    assert said is not None
    names: dict[str, Any] = {}
    exec(compile(found[1], "docs/costs.md", "exec"), names)
    assert names["cost_nusd"] == int(said[1])


def test_its_tables_are_whole() -> None:
    """Each API, meter and fact has its row, and no row is left of one that is gone."""
    assert sorted(_table("Usage objects")) == sorted(APIS)
    assert sorted(_table("Meters")) == sorted(field.name for field in fields(Meters))
    assert sorted(_table("Facts")) == sorted(field.name for field in fields(Facts))


def test_its_keys_mean_what_it_says() -> None:
    """The additions to LiteLLM's format are read, and change what a request costs."""
    options, hours, tool = _table("`model_info`")
    meters = Meters(text_input=1000)
    factors = sheet_from_model_info("p", "m", TOKENS | yaml.safe_load("{" + options + "}"))
    assert cost(factors, meters, Facts(batch=True)) == 5_000_000
    assert cost(factors, meters, Facts(service_tier="priority")) == 17_500_000
    off_peak = yaml.safe_load("{" + hours + "}")["off_peak_pricing"]
    cheap = {"off_peak_pricing": {**off_peak, "input_cost_per_token": 0}}
    holiday = Facts(at_ms=1_790_820_000_000)  # 2026-10-01, 02:00 UTC
    assert cost(sheet_from_model_info("p", "m", TOKENS | cheap), meters, holiday) == 0
    fee = {tool.replace("<tool>", "oracle"): 5}
    called = Facts(tools=(("oracle", 1),))
    sheet = sheet_from_model_info("p", "m", TOKENS | fee)
    assert cost(sheet, Meters(tool_calls=1), called) == 5_000_000


def test_what_has_no_price_is_an_error() -> None:
    """As the page says of all that was used."""
    with pytest.raises(PriceInvalid, match="pages were used"):
        cost(sheet_from_model_info("p", "m", TOKENS), Meters(pages=1))
