"""`comptroller budget` on a real stack: what it sets holds for the next request."""

import pytest

from comptroller.exits import FAILED, USAGE_ERROR
from tests.comptroller.commands.administered import Administered

pytestmark = pytest.mark.asyncio(loop_scope="session")

COST_NUSD = 36_200  # what the demo model says to "hello"


async def test_a_budget_is_set_shown_and_taken_away(stack: Administered) -> None:
    """All kinds of limits in their short form, with what stands beside; the next request obeys;
    setting it anew keeps what was spent."""
    secret = await stack.organisation("setting")
    ran = await stack(
        *("budget", "set", "setting/research", "5.00", "usd=1.00/day", "tokens=100000/hour"),
        *("requests=1/day", "concurrency=20", "--on-exceed", "refuse"),
        *("--per-child", "0.50/day", "--payloads", "hash", "--json"),
    )
    assert ran.code == 0, ran.err
    budget = ran.document
    assert [(each["dimension"], each["window"], each["limit"]) for each in budget["limits"]] == [
        ("usd", "total", "5.00"),
        ("usd", "day", "1.00"),
        ("tokens", "hour", 100_000),
        ("requests", "day", 1),
        ("concurrency", "total", 20),
    ]
    assert (budget["on_exceed"], budget["payloads"]) == ("refuse", "hash")
    assert budget["per_child"] == [{"usd": "0.50", "window": "day"}]
    assert (await stack.chat(secret)).status_code == 200
    assert (await stack.chat(secret)).status_code == 402
    again = await stack("budget", "set", "setting/research", "requests=2/day", "--json")
    assert again.document["limits"][0]["spent"] == 1
    assert (await stack.chat(secret)).status_code == 200
    gone = await stack("budget", "unset", "setting/research", "--json")
    assert gone.document["limits"] == []
    assert (await stack.chat(secret)).status_code == 200


async def test_a_frozen_scope_refuses_until_it_is_thawed(stack: Administered) -> None:
    """And the refusal's own command is the one that thaws it."""
    secret = await stack.organisation("freezing")
    assert (await stack("budget", "freeze", "freezing")).code == 0
    refused = await stack.chat(secret)
    assert refused.status_code == 402
    assert "`comptroller budget thaw freezing`" in refused.json()["error"]["message"]
    assert (await stack("budget", "thaw", "freezing", "--json")).document["state"] == "open"
    assert (await stack.chat(secret)).status_code == 200


async def test_the_list_has_what_is_spent_and_free(stack: Administered) -> None:
    """A line for each limit with a bar, only below a scope where one is named; in JSON a budget a
    line, in nano-dollars too."""
    secret = await stack.organisation("listing")
    await stack("budget", "set", "listing/research", "requests=4")
    assert (await stack.chat(secret)).status_code == 200
    lines = [
        line.split("\t") for line in (await stack("budget", "list", "listing")).out.splitlines()
    ]
    assert lines[0][:3] == ["scope", "limit", "spent"]
    assert [line[:2] for line in lines[1:]] == [
        ["listing", "$1.00 per day"],
        ["listing/research", "4 requests"],
    ]
    assert lines[1][2] == "$0.0000362"
    assert lines[2][2:6] == ["1", "0", "0", "3"]
    assert lines[2][6] == "\u2588" * 5 + "\u00b7" * 15
    below = await stack("budget", "list", "listing", "--json")
    assert [each["scope"] for each in below.documents] == ["listing", "listing/research"]
    (limit,) = below.documents[0]["limits"]
    assert limit["spent_nusd"] == COST_NUSD
    assert limit["free_nusd"] == 10**9 - COST_NUSD


async def test_mistakes_are_told_with_what_to_type(stack: Administered) -> None:
    """A scope that nobody has used exits 1, a limit that is none 2."""
    await stack.organisation("mistaken")
    ran = await stack("budget", "show", "nobody/here")
    assert (ran.code, ran.next_command) == (FAILED, "comptroller budget list")
    for limit in ("", "five", "5.0000000001", "usd=", "euro=5", "tokens=1.5", "5/fortnight", "-5"):
        ran = await stack("budget", "set", "mistaken", "--", limit)
        assert (ran.code, ran.next_command) == (USAGE_ERROR, "comptroller budget set --help"), limit
    ran = await stack("budget", "set", "mistaken", "5.00", "--payloads", "some")
    assert ran.code == USAGE_ERROR
    assert "full, redacted, hash, off" in ran.err
    shown = await stack("budget", "show", "mistaken", "--json")
    assert [each["limit"] for each in shown.document["limits"]] == ["1.00"]
