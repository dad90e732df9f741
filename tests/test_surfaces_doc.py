"""docs/surfaces.md names the endpoints and translations that there are, and nothing else."""

import re
from pathlib import Path

import pytest

from gateway.demo import wires_of
from gateway.dialects import DIALECTS
from gateway.providers import PROVIDERS
from gateway.translations import TRANSLATIONS
from pricing import DEMO_PRICES

TEXT = (Path(__file__).parent.parent / "docs" / "surfaces.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the table that has this heading, without heads."""
    lines = TEXT.partition(f"| {heading} |")[2].splitlines()[2:]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_endpoints_are_those_that_are_served() -> None:
    """Each has its row."""
    assert {row[0].strip("`") for row in table("endpoint")} == DIALECTS.keys()


def test_translations_are_those_that_there_are() -> None:
    """Each has its row, from the client's format to the provider's."""
    rows = table("the client speaks")
    assert {(row[0].strip("`"), row[1].strip("`")) for row in rows} == TRANSLATIONS.keys()


def test_fields_that_are_left_out_are_left_out() -> None:
    """Every field that the table names is one that its translation knows of."""
    for row in table("the client speaks"):
        source = Path(__file__).parent.parent / "gateway" / "translations"
        name = {
            "/v1/chat/completions": "chat_to_messages.py",
            "/v1/messages": "messages_to_chat.py",
            "/v1/responses": "responses_to_chat.py",
        }[row[0].strip("`")]
        code = (source / name).read_text(encoding="utf-8")
        for field in re.findall(r"`([a-z_]+)`", row[2]):
            assert f'"{field}"' in code, field


@pytest.mark.parametrize(
    ("provider", "host", "info", "wanted"),
    [
        ("openai", "api.openai.com", {}, {"/v1/chat/completions", "/v1/responses"}),
        ("openai", "api.openai.com", {"mode": "embedding"}, {"/v1/embeddings"}),
        ("openai", "api.openai.com", {"mode": "completion"}, {"/v1/completions"}),
        ("openai", "other.example", {}, {"/v1/chat/completions"}),
        (
            "hosted_vllm",
            "other.example",
            {"supported_endpoints": ["/v1/chat/completions", "/v1/responses"]},
            {"/v1/chat/completions", "/v1/responses"},
        ),
        ("anthropic", "api.anthropic.com", {}, {"/v1/messages"}),
    ],
)
def test_servers_speak_what_the_table_says(
    provider: str, host: str, info: dict[str, object], wanted: set[str]
) -> None:
    """By provider, server and model_info."""
    assert {wire.endpoint for wire in PROVIDERS[provider].wires(host, info)} == wanted


def test_the_demo_speaks_all_of_them() -> None:
    """Its chat models all but embeddings, which `demo/embedder` has."""
    spoken = {wire.endpoint for name in DEMO_PRICES for wire in wires_of(name)}
    assert spoken == DIALECTS.keys()
    assert {wire.endpoint for wire in wires_of("demo/embedder")} == {"/v1/embeddings"}
    assert {wire.endpoint for wire in wires_of("demo/small")} == spoken - {"/v1/embeddings"}
