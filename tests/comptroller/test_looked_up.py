"""Prices are looked up once for all processes of a machine: whoever has the supervisor's answers
reads no list, and has the same prices."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from comptroller.cli import app
from comptroller.document import ConfigInvalid
from comptroller.looked_up import write_looked_up
from comptroller.settings import load_settings
from comptroller.variables import LOOKED_UP_VARIABLE
from pricing.catalog import Catalog

CONFIG = """
model_list:
  - model_name: listed
    litellm_params: {model: openai/gpt-5-mini, api_key: k}
  - model_name: based
    litellm_params: {model: openai/ours, api_base: "http://127.0.0.1:1/v1"}
    model_info: {base_model: azure/gpt-5-mini}
  - model_name: half
    litellm_params: {model: openai/gpt-5, api_key: k}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002}
  - model_name: own
    litellm_params: {model: openai/x, api_base: "http://127.0.0.1:1/v1"}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002,
                 max_input_tokens: 9000, max_output_tokens: 900}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "comptroller.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


@pytest.fixture
def environment(config: Path, tmp_path: Path) -> dict[str, str]:
    """What a supervisor gives its processes."""
    path = tmp_path / "prices.json"
    write_looked_up(path, (each.source for each in load_settings(config, {}).models))
    return {LOOKED_UP_VARIABLE: str(path)}


def never() -> Catalog:
    """Lists that must not be read."""
    raise AssertionError("a list was read")


def test_a_process_that_was_told_reads_no_list(
    config: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And has the same prices, to their versions; also limits that the lists add."""
    whole = load_settings(config, {}).models
    monkeypatch.setattr(Catalog, "find_dearest", never)
    told = load_settings(config, environment).models
    assert told == whole
    assert [each.price.version for each in told] == [each.price.version for each in whole]
    assert [each.price.provider for each in told] == ["openai", "azure", "openai", "openai"]


def test_what_was_not_told_is_looked_up(config: Path, environment: dict[str, str]) -> None:
    """A model that the file has got meanwhile is priced all the same; so is all where the file is
    gone."""
    config.write_text(CONFIG.replace("gpt-5-mini, api_key", "gpt-5-nano, api_key"))
    assert load_settings(config, environment).models == load_settings(config, {}).models
    Path(environment[LOOKED_UP_VARIABLE]).unlink()
    assert load_settings(config, environment).models == load_settings(config, {}).models


def test_a_price_is_told_of_its_own_server_only(config: Path, environment: dict[str, str]) -> None:
    """The same name at another server is another seller's, and was not looked up."""
    elsewhere = CONFIG.replace(
        "gpt-5-mini, api_key", "gpt-5-mini, api_base: 'http://h/v1', api_key"
    )
    config.write_text(elsewhere)
    with pytest.raises(ConfigInvalid, match="nobody whose prices are listed serves h"):
        load_settings(config, environment)


@pytest.mark.parametrize("text", ["", "{", "{}x", '[{"key": 1}]', "[1]", '[{"key": []}]'])
def test_what_cannot_be_read_is_said(config: Path, environment: dict[str, str], text: str) -> None:
    """A file that something has broken stops the process with what to do."""
    Path(environment[LOOKED_UP_VARIABLE]).write_text(text)
    with pytest.raises(ConfigInvalid, match="start `comptroller up` again"):
        load_settings(config, environment)


def test_a_configuration_is_checked_without_a_supervisor(config: Path) -> None:
    """`comptroller check` does not miss what only `up` gives its processes."""
    ran = CliRunner().invoke(app, ["check", "--config", str(config)])
    assert ran.exit_code == 0, ran.output
    assert LOOKED_UP_VARIABLE not in ran.output


def test_who_does_not_price_reads_no_model_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The recorder is not stopped by a model that has no price, and looks none up."""
    path = tmp_path / "comptroller.yaml"
    path.write_text("model_list: [{model_name: x, litellm_params: {model: openai/never-heard-of}}]")
    monkeypatch.setattr(Catalog, "find_dearest", never)
    assert load_settings(path, {}, models=False).models == ()


def test_only_what_the_lists_said_is_written(environment: dict[str, str]) -> None:
    """No key, no secret, and nothing of a model whose prices the file has itself."""
    text = Path(environment[LOOKED_UP_VARIABLE]).read_text(encoding="utf-8")
    keys = [row["key"] for row in json.loads(text)]
    assert keys == [
        ["openai", "gpt-5-mini", "", "", ""],
        ["openai", "ours", "127.0.0.1", "azure/gpt-5-mini", ""],
        ["openai", "gpt-5", "", "", ""],
    ]
    assert all(set(row) == {"key", "provider", "info"} for row in json.loads(text))
