"""What the providers' exports say is read to the last digit: each format, as it is documented and
as consoles write it."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from comptroller.exports import Export, Line, read

DAY = "2026-09-28"
START, END = 1_790_553_600, 1_790_640_000
OPENAI_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,quantity,"
    "quantity_unit,line_item,project_id\n"
    "1790467200,1790553600,2026-09-27T00:00:00,2026-09-28T00:00:00,,,,,,\n"
    f"{START},{END},2026-09-28T00:00:00,2026-09-29T00:00:00,"
    '0.003835980000000000000000000000,usd,1000,tokens,"gpt-5-nano-2025-08-07, input",proj_a\n'
)
OPENAI_USAGE_CSV = (
    "start_time,end_time,start_time_iso,end_time_iso,project_id,num_model_requests,model,"
    "input_tokens,output_tokens,input_cached_tokens\n"
    "1790553600,1790553660,2026-09-28T00:00:00,2026-09-28T00:01:00,,3.0,gpt-5,7162.0,50,1280\n"
    "1790553660,1790553720,2026-09-28T00:01:00,2026-09-28T00:02:00,,,,,,\n"
)
ANTHROPIC_COST_CSV = (
    "usage_date_utc,model,workspace,api_key,usage_type,context_window,token_type,cost_usd,"
    "list_price_usd,cost_type\n"
    f"{DAY},Claude Haiku 4.5,Default,key,message,≤ 200k,input_no_cache,0.05,0.05,token\n"
)
ANTHROPIC_USAGE_CSV = (
    "usage_date_utc,model_version,api_key,usage_input_tokens_no_cache,"
    "usage_input_tokens_cache_write_5m,usage_input_tokens_cache_write_1h,"
    "usage_input_tokens_cache_read,usage_output_tokens,web_search_count\n"
    f"{DAY},claude-haiku-4-5-20251001,key,189,61624,7,100,675,0\n"
)


def exported(tmp_path: Path, provider: str, content: str) -> Export:
    """The export of a file with this in it."""
    file = tmp_path / "export"
    file.write_text(content, encoding="utf-8")
    return read(provider, file)


def openai_page(*results: dict[str, Any], **more: Any) -> str:
    """A page of OpenAI's API."""
    bucket = {"object": "bucket", "start_time": START, "end_time": END, "results": list(results)}
    return json.dumps({"object": "page", "data": [bucket], "has_more": False, **more})


def anthropic_page(*results: dict[str, Any]) -> str:
    """A page of Anthropic's API."""
    bucket = {
        "starting_at": f"{DAY}T00:00:00Z",
        "ending_at": "2026-09-29T00:00:00Z",
        "results": list(results),
    }
    return json.dumps({"data": [bucket], "has_more": False, "next_page": None})


def openai_cost(value: Any, item: Any = "gpt-5, input") -> dict[str, Any]:
    """A result of OpenAI's costs."""
    return {
        "object": "organization.costs.result",
        "amount": {"value": value, "currency": "usd"},
        "line_item": item,
    }


CASES = [
    (
        "openai",
        openai_page(openai_cost(0.06), openai_cost(1.5e-05, "web search tool calls")),
        [
            Line(DAY, "gpt-5", amount_usd=Decimal("0.06")),
            Line(DAY, "web search tool calls", amount_usd=Decimal("0.000015")),
        ],
    ),
    (
        "openai",
        openai_page(
            {
                "object": "organization.usage.completions.result",
                "input_tokens": 1000,
                "output_tokens": 500,
                "input_cached_tokens": 800,
                "num_model_requests": 5,
                "model": "gpt-5",
            }
        ),
        [Line(DAY, "gpt-5", requests=5, input_tokens=1000, output_tokens=500)],
    ),
    (
        "openai",
        OPENAI_CSV,
        [Line(DAY, "gpt-5-nano-2025-08-07", amount_usd=Decimal("0.00383598"))],
    ),
    (
        "openai",
        OPENAI_USAGE_CSV,
        [Line(DAY, "gpt-5", requests=3, input_tokens=7162, output_tokens=50)],
    ),
    (
        "anthropic",
        anthropic_page(
            {
                "uncached_input_tokens": 1500,
                "cache_creation": {
                    "ephemeral_1h_input_tokens": 1000,
                    "ephemeral_5m_input_tokens": 500,
                },
                "cache_read_input_tokens": 200,
                "output_tokens": 500,
                "model": "claude-opus-4-20250514",
            }
        ),
        [Line(DAY, "claude-opus-4-20250514", input_tokens=3200, output_tokens=500)],
    ),
    (
        "anthropic",
        anthropic_page(
            {"currency": "USD", "amount": "123.78912", "model": "claude-opus-5"},
            {"currency": "USD", "amount": "1", "model": None, "description": "Web search"},
        ),
        [
            Line(DAY, "claude-opus-5", amount_usd=Decimal("1.2378912")),
            Line(DAY, "Web search", amount_usd=Decimal("0.01")),
        ],
    ),
    (
        "anthropic",
        ANTHROPIC_COST_CSV,
        [Line(DAY, "Claude Haiku 4.5", amount_usd=Decimal("0.05"), rounding_usd=Decimal("0.005"))],
    ),
    (
        "anthropic",
        ANTHROPIC_USAGE_CSV,
        [Line(DAY, "claude-haiku-4-5-20251001", input_tokens=61_920, output_tokens=675)],
    ),
]


@pytest.mark.parametrize(("provider", "content", "lines"), CASES)
def test_a_format_is_read_to_the_last_digit(
    tmp_path: Path, provider: str, content: str, lines: list[Line]
) -> None:
    """Dollars as they are written (Anthropic's API in cents), input whole, cached tokens in it."""
    found = exported(tmp_path, provider, content)
    assert list(found.lines) == lines
    assert found.until_day == "2026-09-29"


def test_days_without_a_line_count(tmp_path: Path) -> None:
    """A bucket in which nothing was billed is a day of which the export speaks."""
    assert exported(tmp_path, "openai", OPENAI_CSV).from_day == "2026-09-27"


@pytest.mark.parametrize("joined", ["\n", " ", ","])
def test_pages_may_follow_each_other(tmp_path: Path, joined: str) -> None:
    """As lines, behind each other, or in a list; that more would follow is told."""
    pages = joined.join((openai_page(openai_cost(1)), openai_page(openai_cost(2), has_more=True)))
    content = f"[{pages}]" if joined == "," else pages
    found = exported(tmp_path, "openai", content)
    assert [line.amount_usd for line in found.lines] == [1, 2]
    assert len(found.notes) == 1
    assert "has_more" in found.notes[0]


def test_a_byte_order_mark_is_no_column(tmp_path: Path) -> None:
    """As spreadsheets write it."""
    assert exported(tmp_path, "openai", "\ufeff" + OPENAI_CSV).lines
