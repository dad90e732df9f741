"""docs/responses.md says what the code does: its files load, its table of tools is the code's."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from comptroller.settings import load_settings
from gateway.dialects import RESPONSES
from gateway.dialects.responses import OUTPUT_TOKENS_LEAST, TOOL_CALLS_WRITTEN
from gateway.errors import NotPriced

TEXT = (Path(__file__).parent.parent / "docs" / "responses.md").read_text(encoding="utf-8")


def _block(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    return found[1]


def _rows() -> list[tuple[str, str]]:
    """(tool, what is reserved) of each tool in the table."""
    rows = re.findall(r"^\| (`.+?) \| .+? \| (.+?) \|$", TEXT, re.MULTILINE)
    return [(kind, said) for kinds, said in rows for kind in re.findall(r"`([^`]+)`", kinds)]


def test_its_model_is_served_at_both_endpoints(tmp_path: Path) -> None:
    """The entry is accepted as it is."""
    path = tmp_path / "comptroller.yaml"
    path.write_text(_block("yaml"))
    (entry,) = load_settings(path, {}).models
    assert [wire.endpoint for wire in entry.wires] == ["/v1/chat/completions", "/v1/responses"]


def test_codexs_settings_are_toml() -> None:
    """With the names that Codex reads."""
    document = tomllib.loads(_block("toml"))
    provider = document["model_providers"][document["model_provider"]]
    assert provider["wire_api"] == "responses"
    assert document["web_search"] == "disabled"


@pytest.mark.parametrize(("kind", "said"), _rows())
def test_each_tool_is_reserved_for_as_the_table_says(kind: str, said: str) -> None:
    """Its definition, the window, rounds with or without a fee, or not at all."""
    tool: dict[str, Any] = {"type": kind, "name": "x", "tools": []}
    body = json.dumps({"model": "m", "input": "x", "tools": [tool]}).encode()
    if said.startswith("refused"):
        with pytest.raises(NotPriced):
            RESPONSES.parse(body)
        return
    call = RESPONSES.parse(body)
    in_rounds = "for each call" in said
    assert call.unseen_content == ("context window" in said)
    assert call.input_windows == (TOOL_CALLS_WRITTEN + 1 if in_rounds else 1)
    assert call.searches_max == (TOOL_CALLS_WRITTEN if "fee" in said else 0)


def test_its_numbers_are_the_codes() -> None:
    """The least cap, and the calls that are written."""
    assert f"A cap below {OUTPUT_TOKENS_LEAST} is refused" in TEXT
    assert f"the gateway writes {TOOL_CALLS_WRITTEN}." in TEXT
