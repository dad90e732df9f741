"""docs/prices.md says what the catalogue does: its examples are run, its tables are the code's."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from comptroller.catalogued import KEPT_MS
from comptroller.cli import app
from comptroller.settings import load_settings
from pricing.catalog.names import RULES, candidates
from pricing.catalog.providers import PROVIDERS, provider_named
from tests.pricing.catalog.reading import vectors

TEXT = (Path(__file__).parent.parent / "docs" / "prices.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| ([A-Za-z' -]+) \| ([a-z, ]+) \| `([^`]+)` \| `([^`]+)` \|$", re.MULTILINE)
DAY_MS = 86_400_000


def _block(kind: str) -> str:
    found = re.search(rf"```{kind}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_its_configuration_loads_without_a_single_price(tmp_path: Path) -> None:
    """Each model of the example is priced as its comment says."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(_block("yaml"))
    keys = {"OPENAI_API_KEY": "k", "DEEPSEEK_API_KEY": "k"}
    models = load_settings(file, keys).models
    assert [model.price.provider for model in models] == ["openai", "deepseek", "azure"]


def test_its_request_costs_what_it_says() -> None:
    """The example of `prices cost` is asked, and its answer is in the text."""
    ran = CliRunner().invoke(app, ["prices", "cost", "--json"], input=_block("json"))
    assert ran.exit_code == 0, ran.output
    assert f'`"cost_nusd": {json.loads(ran.stdout)["cost_nusd"]}`' in TEXT


def test_its_request_in_a_region_needs_the_key_that_it_gives() -> None:
    """With it there is a cost, without it an error."""
    example = json.loads(re.findall(r"```json\n(.*?)```", TEXT, re.DOTALL)[1])
    asked = ["prices", "cost", "--json"]
    assert CliRunner().invoke(app, asked, input=json.dumps(example)).exit_code == 0
    (key,) = example.pop("model_info")
    ran = CliRunner().invoke(app, asked, input=json.dumps(example))
    assert ran.exit_code == 1
    assert f"give {key}" in ran.output


@pytest.mark.parametrize("row", ROW.findall(TEXT), ids=lambda row: row[0])
def test_each_rewriting_of_a_name_is_done(row: tuple[str, str, str, str]) -> None:
    """For every provider that the row names."""
    what, providers, before, after = row
    for name in ("openai",) if providers == "all" else providers.split(", "):
        assert dict(candidates(provider_named(name), before)).get(after) == (what,), name


def test_the_tables_are_whole() -> None:
    """Each rule and each provider with its names, and no other."""
    assert {row[0] for row in ROW.findall(TEXT)} == {"provider prefix", *(r.what for r in RULES)}
    rows = re.findall(r"^\| `([a-z_]+)` \| ((?:`[^`]+`(?:, )?)*) ?\|$", TEXT, re.MULTILINE)
    documented = {name: tuple(re.findall(r"`([^`]+)`", also)) for name, also in rows}
    assert documented == {each.name: each.aliases for each in PROVIDERS.values()}


def test_its_numbers_are_the_codes() -> None:
    """How long a price is kept, and how many requests were worked out."""
    assert f"within {KEPT_MS // DAY_MS} days" in TEXT
    assert f"All {len(vectors())} requests" in TEXT
