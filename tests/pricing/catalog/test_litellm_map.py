"""LiteLLM's map is read as data: without its package, without floats, and it may be absent."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pricing.catalog import litellm_map
from pricing.catalog.litellm_map import LitellmMap

MAP = b"""{
    "gpt-x": {
        "litellm_provider": "openai", "input_cost_per_token": 7.5e-08, "max_input_tokens": 100,
        "off_peak_pricing": {"input_cost_per_token": 1E-8, "windows": [1]},
        "output_cost_per_token": null, "source": "https://example.com"
    },
    "gemini/gem": {"litellm_provider": "gemini", "input_cost_per_token": 1},
    "vertex_ai/claude": {"litellm_provider": "vertex_ai-anthropic_models"},
    "groq/openai/gpt-x": {"litellm_provider": "groq"},
    "sample_spec": {"input_cost_per_token": 0}, "odd": {"litellm_provider": 5}
}"""


def test_names_are_those_of_the_seller_and_of_his_api() -> None:
    """With and without LiteLLM's route in front, and never somebody else's model of that name."""
    found = LitellmMap(MAP)
    for lists, name, key in (
        (("openai",), "gpt-x", "gpt-x"),
        (("gemini",), "gem", "gemini/gem"),
        (("vertex_ai*",), "claude", "vertex_ai/claude"),
        (("groq",), "openai/gpt-x", "groq/openai/gpt-x"),
    ):
        listed = found.find(lists, [name], 0)
        assert listed is not None
        assert listed.name == key
    assert found.find(("groq",), ["gpt-x"], 0) is None
    assert found.find(("gemini",), ["gpt-x", "claude"], 0) is None


def test_numbers_are_the_decimals_that_were_written() -> None:
    """7.5e-08 is 0.000000075 and no float; null is absent; what is no price or limit is left."""
    listed = LitellmMap(MAP).find(("openai",), ["gpt-x"], 0)
    assert listed is not None
    assert listed.info == {
        "input_cost_per_token": "0.000000075",
        "max_input_tokens": 100,
        "off_peak_pricing": {"input_cost_per_token": "0.00000001", "windows": [1]},
    }


def test_without_the_package_there_is_one_opinion_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its absence nor a package without its map is an error."""
    monkeypatch.setattr(litellm_map, "find_spec", lambda _: None)
    assert LitellmMap.load() is None
    monkeypatch.undo()
    monkeypatch.setattr(litellm_map, "FILE", "no-such-file.json")
    assert LitellmMap.load() is None


def test_a_map_that_is_there_is_found_without_running_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Importing LiteLLM takes seconds; a package that would fail when imported gives its map."""
    package = tmp_path / "litellm"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    content = {"m": {"litellm_provider": "openai", "input_cost_per_token": 1e-07}}
    (package / litellm_map.FILE).write_text(json.dumps(content))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    importlib.invalidate_caches()
    found = LitellmMap.load()
    assert found is not None
    listed = found.find(("openai",), ["m"], 0)
    assert listed is not None
    assert listed.info == {"input_cost_per_token": "0.0000001"}
    assert "litellm" not in sys.modules


def test_importing_the_catalogue_loads_no_list() -> None:
    """A gateway whose file has all prices pays for none of it: the lists and what they bring along
    are read when a model is looked up."""
    code = (
        "import sys, pricing.catalog as c; c.Catalog.load(); "
        "print([m for m in ('genai_prices', 'litellm', 'httpx2', 'pydantic') if m in sys.modules])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(each for each in sys.path if each)},
    )
    assert ran.stdout.strip() == "[]"
