"""`comptroller reconcile` on a real stack: the demo's bill beside its records."""

import json
import tempfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from comptroller.exits import USAGE_ERROR
from tests.comptroller.commands.administered import Administered, administered

pytestmark = pytest.mark.asyncio(loop_scope="module")

COST_NUSD = 36_200  # what the demo model says to "hello"
CALLS = 3


async def bill(stack: Administered, folder: Path, *items: tuple[str, str]) -> str:
    """A costs page of OpenAI's API of the day of the calls, in a file: (line item, dollars)."""
    day = await stack("sql", "SELECT toDate(min(time)) FROM requests", "--format", "TSV")
    start = datetime.fromisoformat(day.out.strip()).replace(tzinfo=UTC)
    results = [
        {"amount": {"value": float(usd), "currency": "usd"}, "line_item": item}
        for item, usd in items
    ]
    bucket: dict[str, Any] = {
        "object": "bucket",
        "start_time": int(start.timestamp()),
        "end_time": int((start + timedelta(days=1)).timestamp()),
        "results": results,
    }
    file = folder / "costs.json"
    file.write_text(json.dumps({"object": "page", "data": [bucket], "has_more": False}))
    return str(file)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack() -> AsyncIterator[Administered]:
    """One in which nobody else calls the model that is billed."""
    with tempfile.TemporaryDirectory(prefix="ct-") as folder:
        async with administered(Path(folder)) as stack:
            yield stack


@pytest.fixture
async def spent(stack: Administered) -> Administered:
    """Calls of the demo's model, recorded."""
    count = "SELECT count() FROM requests"
    before = int((await stack("sql", count, "--format", "TSV")).out)
    secret = await stack.organisation(f"bill-{before}")
    for _ in range(CALLS - before):
        assert (await stack.chat(secret)).status_code == 200
    await stack.until_recorded(count, CALLS)
    return stack


async def test_a_bill_that_agrees_is_explained(spent: Administered, tmp_path: Path) -> None:
    """Both sides of each day and model, and no difference."""
    half = f"{COST_NUSD * CALLS / 2 / 10**9:.9f}"
    file = await bill(spent, tmp_path, ("small, input", half), ("small, output", half))
    ran = await spent("reconcile", "openai", file, "--json")
    assert ran.code == 0, ran.err
    (row,) = ran.document["rows"]
    assert row["export_nusd"] == row["recorded_nusd"] == COST_NUSD * CALLS
    assert (row["recorded_requests"], row["export_requests"]) == (CALLS, None)
    assert (row["difference_usd"], ran.document["explained"]) == ("0.00", True)


async def test_what_differs_has_a_name(spent: Administered, tmp_path: Path) -> None:
    """For people, too: a line for each part, and whether it is explained."""
    file = await bill(spent, tmp_path, ("small, input", "0.0001"), ("gpt-5, input", "1.5"))
    ran = await spent("reconcile", "openai", file)
    assert ran.code == 0, ran.err
    head, *rows = [line.split("\t") for line in ran.out.splitlines()]
    assert head == ["day", "model", "usd, export", "usd, recorded", "difference"]
    assert [row[1:] for row in rows] == [
        ["gpt-5", "1.50", "", "1.50"],
        ["small", "0.0001", "0.0001086", "-0.0000086"],
    ]
    assert "models that only the export has: $1.50 (gpt-5)" in ran.err
    assert ran.err.rstrip().endswith("not explained")


async def test_models_of_others_are_left_out(spent: Administered, tmp_path: Path) -> None:
    """By a pattern of their recorded names."""
    file = await bill(spent, tmp_path, ("gpt-5, input", "1.5"))
    ran = await spent("reconcile", "openai", file, "--models", "gpt-*", "--json")
    assert [row["model"] for row in ran.document["rows"]] == ["gpt-5"]


async def test_a_file_that_is_none_is_told_with_its_line(
    spent: Administered, tmp_path: Path
) -> None:
    """And a provider that is none, and a file that is not there: usage, nothing is asked."""
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("start_time,end_time,amount_value,amount_currency,line_item\n1,2\n")
    for arguments, said in (
        (("openai", str(wrong)), "line 2: 2 fields"),
        (("openai", str(tmp_path / "none")), "No such file"),
        (("nobody", str(wrong)), "there are anthropic, openai"),
    ):
        ran = await spent("reconcile", *arguments)
        assert ran.code == USAGE_ERROR
        assert said in ran.err
        assert ran.next_command == "comptroller reconcile --help"
