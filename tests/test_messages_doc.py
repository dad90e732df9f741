"""docs/messages.md is checked: its configuration loads, and what it counts or refuses is."""

import re
from pathlib import Path

import pytest

from comptroller.settings import load_settings
from gateway.dialects import MESSAGES
from gateway.dialects.messages_tools import schema_tokens
from gateway.errors import NotPriced
from tests.gateway.dialects.test_messages import body_of

DOCUMENT = (Path(__file__).parent.parent / "docs" / "messages.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (.+?) \| (.+?) \|$", DOCUMENT, re.MULTILINE)
# A value of each field that the table of refusals names.
VALUES: dict[str, object] = {
    "mcp_servers": [{}],
    "container": "x",
    "compaction": {"x": 1},
    "context_management": {"edits": [{"type": "compact_20260112"}]},
    "speed": "fast",
    "inference_geo": "us",
    "service_tier": "priority",
    "fallbacks": "default",
    "fallback_credit_token": "x",
    "billing_policy": {"bill_to": "user_profile"},
}


def test_its_configuration_loads(tmp_path: Path) -> None:
    """As it stands there, with a price from the catalogue."""
    path = tmp_path / "comptroller.yaml"
    block = re.search(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    assert block is not None
    path.write_text(block[1])
    (model,) = load_settings(path, {"ANTHROPIC_API_KEY": "sk-ant-not-real"}).models
    assert model.name == "claude-sonnet-4-6"
    assert [wire.endpoint for wire in model.wires] == [MESSAGES.endpoint]
    assert model.price.tool_framing_tokens == 640


def refusals() -> str:
    """The table of what is refused."""
    return DOCUMENT.partition("## What is refused")[2].partition("\n## ")[0]


@pytest.mark.parametrize("name", VALUES)
def test_every_field_that_it_refuses_is_refused(name: str) -> None:
    """And stands in the table."""
    assert f"`{name}" in refusals()
    with pytest.raises(NotPriced):
        MESSAGES.parse(body_of(**{name: VALUES[name]}), {})


def test_every_tool_that_it_names_is_refused_or_counted() -> None:
    """By the beginning of its name."""
    for beginning in re.findall(r"`(\w+_)\.\.\.`", refusals()):
        if beginning != "clear_":
            with pytest.raises(NotPriced):
                schema_tokens({"type": f"{beginning}20260101"})
    (counted,) = [row for row in ROWS if "`bash_...`" in row[0]]
    numbers = [int(each) for each in re.findall(r"\d+", counted[1])]
    kinds = ("bash_20250124", "text_editor_20250728", "computer_20251124")
    assert [schema_tokens({"type": kind}) for kind in kinds] == numbers
