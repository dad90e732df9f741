"""`comptroller prices recost` on a real stack whose price was wrong: what people read in
docs/prices.md is what happens."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from comptroller.data_dir import admin_token_file, admin_url_file
from comptroller.exits import USAGE_ERROR
from tests.comptroller.commands.administered import Administered
from tests.comptroller.commands.test_review_terminal import on_terminal
from tests.gateway.processes import Running, comptroller_up

CALLS = 20
SECRET = "ck-recost-0123456789abcdef0123"
LIMITS = {"max_input_tokens": 32_000, "max_output_tokens": 4_096}


def config(input_usd: str, output_usd: str) -> dict[str, object]:
    """The demo's model at these prices for a token."""
    info: dict[str, object] = {
        "input_cost_per_token": input_usd,
        "output_cost_per_token": output_usd,
        **LIMITS,
    }
    return {
        "model_list": [
            {
                "model_name": "demo/small",
                "litellm_params": {"model": "demo/small"},
                "model_info": info,
            }
        ],
        "budgets": {"acme": [{"usd": "1.00", "window": "day"}, {"usd": "5.00"}]},
        "keys": [{"name": "one", "scope": "acme/research", "secret": SECRET}],
    }


def administered_by(running: Running) -> Administered:
    """Commands on this stack."""
    url = admin_url_file(running.data_dir).read_text(encoding="ascii")
    token = admin_token_file(running.data_dir).read_text(encoding="ascii")
    return Administered(running, url, token)


async def spent(stack: Administered) -> list[str]:
    """Of each limit of the organisation."""
    shown = await stack("budget", "show", "acme", "--json")
    assert shown.code == 0, shown.err
    return [each["spent"] for each in shown.document["limits"]]


async def used(stack: Administered) -> tuple[int, int, int, int]:
    """Tokens in and out of one call, what all have cost by `usage` and by `spend_hourly`."""
    query = (
        "SELECT (SELECT any((text_input, text_output)) FROM events WHERE event_type = "
        "'llm_response') AS one, (SELECT sum(charged_nusd) FROM usage) AS usage, "
        "(SELECT sum(charged_nusd) FROM spend_hourly) AS hourly"
    )
    ran = await stack("sql", query, "--format", "JSONCompactEachRow")
    one, usage, hourly = json.loads(ran.out)
    return int(one[0]), int(one[1]), int(usage), int(hourly)


async def recosted(stack: Administered, *more: str) -> dict[str, Any]:
    """What a recost of everything says, which must succeed."""
    ran = await stack("prices", "recost", "--since", "1d", "--json", *more)
    assert ran.code == 0, ran.err
    document: dict[str, Any] = ran.document
    return document


async def test_a_price_that_was_wrong_is_put_right(folder: Path) -> None:
    """A tenth of the price for twenty calls; the operator mends the file and starts again. The dry
    run shows it and changes nothing; the booking brings budgets and sums to what was owed; the
    second run finds nothing; the evidence holds."""
    async with comptroller_up(
        folder, config=config("0.0000001", "0.0000002"), record=True, admin=True
    ) as running:
        stack = administered_by(running)
        for _ in range(CALLS):
            assert (await stack.chat(SECRET)).status_code == 200
        await stack.until_recorded("SELECT sum(requests) FROM usage", CALLS)
        tokens_in, tokens_out, wrong_nusd, _ = await used(stack)
        before = await spent(stack)
    owed_nusd = CALLS * (tokens_in * 1000 + tokens_out * 2000)
    assert wrong_nusd * 10 == owed_nusd
    async with comptroller_up(
        folder, config=config("0.000001", "0.000002"), record=True, admin=True
    ) as running:
        stack = administered_by(running)
        dry = await recosted(stack, "--dry-run")
        (row,) = dry["differences"]
        assert (row["model"], row["requests"]) == ("demo/small", CALLS)
        assert (row["charged_nusd"], row["owed_nusd"]) == (wrong_nusd, owed_nusd)
        assert row["difference_nusd"] == owed_nusd - wrong_nusd
        assert dry["booked"] == 0
        recost = ("prices", "recost", "--since", "1d")
        asked = await on_terminal(stack, *recost, typed=b"n\n")
        assert f"book these corrections of {CALLS} requests?" in asked
        assert "nothing was booked" in asked
        assert await spent(stack) == before
        done = await on_terminal(stack, *recost, "--organisation", "acme", typed=b"y\n")
        assert f"{CALLS} corrections booked" in done
        assert done.count("demo/small") == 1
        usd = f"{owed_nusd / 10**9:.9f}".rstrip("0")
        assert await spent(stack) == [usd, usd]
        again = await recosted(stack, "--yes")
        assert (again["examined"], again["booked"], again["differences"]) == (CALLS, 0, [])
        assert (await used(stack))[2:] == (owed_nusd, owed_nusd)
        verified = await stack("verify", "--json")
        assert verified.code == 0, verified.out
        await _told_as_documented(stack)
        await _billed_as_corrected(stack, folder, owed_nusd)


async def _told_as_documented(stack: Administered) -> None:
    """The query that docs/prices.md gives for the corrections of a recost is one that runs."""
    text = (Path(__file__).parents[3] / "docs" / "prices.md").read_text(encoding="utf-8")
    section = text[text.index("## A price that was wrong") :]
    query = re.search(r'comptroller sql "([^"]+)"', section)
    assert query is not None
    ran = await stack("sql", query[1], "--json")
    assert ran.code == 0, ran.err
    assert sum(int(row["corrections"]) for row in ran.documents) == CALLS


async def _billed_as_corrected(stack: Administered, folder: Path, owed_nusd: int) -> None:
    """A provider's bill of what was owed agrees: a correction counts on the day of its request."""
    day = await stack("sql", "SELECT toDate(min(time)) FROM requests", "--format", "TSV")
    start = datetime.fromisoformat(day.out.strip()).replace(tzinfo=UTC)
    until = start + timedelta(days=1)
    header = "start_time,end_time,amount_value,amount_currency,line_item"
    amount = f"{owed_nusd / 10**9:.9f}"
    row = f"{start.timestamp():.0f},{until.timestamp():.0f},{amount},usd,small"
    file = folder / "bill.csv"
    file.write_text(f"{header}\n{row}\n")
    ran = await stack("reconcile", "openai", str(file), "--json")
    assert ran.code == 0, ran.err
    assert (ran.document["difference_nusd"], ran.document["explained"]) == (0, True)


async def test_it_says_what_is_missing(folder: Path) -> None:
    """Nobody at a terminal: it wants --yes or --dry-run. A time that is none is accused by its own
    option. Nothing is asked for that."""
    async with comptroller_up(folder, record=True, admin=True) as running:
        stack = administered_by(running)
        ran = await stack("prices", "recost", "--since", "1d")
        assert ran.code == USAGE_ERROR
        assert "--yes" in ran.err
        for option in ("--since", "--until"):
            ran = await stack("prices", "recost", "--since", "1d", option, "soon", "--yes")
            assert ran.code == USAGE_ERROR
            assert option in ran.err
            assert ran.next_command == "comptroller prices recost --help"
        empty = await stack("prices", "recost", "--since", "1d", "--until", "2d", "--dry-run")
        assert empty.code == USAGE_ERROR, empty.err
        ran = await stack("prices", "recost", "--since", "1d", "--dry-run")
        assert (ran.code, ran.out.splitlines()[0].split("\t")[0]) == (0, "day")
        assert "0 requests priced again" in ran.err
