"""What is drawn from numbers and names: bars, trees, amounts and the frame of `top`. Pure."""

import io
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from comptroller.commands.bars import FREE, RESERVED, SPENT, WIDTH, bar_of, used_share
from comptroller.commands.frame import frame
from comptroller.commands.money import amount_words, limit_words, parse_limit, written_words
from comptroller.commands.outcome import CommandFailed
from comptroller.commands.report import since_time
from comptroller.commands.tree import tree_labels

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
amounts = st.integers(0, 8 * 10**15)


def limit(amount: int, spent: int, reserved: int, allotted: int) -> dict[str, Any]:
    """As the admin API says it."""
    return {
        "dimension": "tokens",
        "window": "day",
        "limit": amount,
        "spent": spent,
        "reserved": reserved,
        "allotted": allotted,
        "free": amount - spent - reserved - allotted,
    }


@given(amounts.filter(bool), amounts, amounts, amounts)
def test_a_bar_has_its_width_and_shows_all_that_is_there(
    amount: int, spent: int, reserved: int, allotted: int
) -> None:
    """Three parts in order and nothing else, also after an overrun; what is spent is seen however
    little it is, and nothing is seen where nothing is."""
    bar = bar_of(limit(amount, spent, reserved, allotted))
    assert len(bar) == WIDTH
    assert bar == "".join(sorted(bar, key=(SPENT, RESERVED, FREE).index))
    assert (SPENT in bar) == (spent > 0)
    if not reserved + allotted:
        assert RESERVED not in bar


def test_bars_count_in_nano_dollars() -> None:
    """Decimal strings are for people: a usd limit is drawn and compared by its integers."""
    row = {
        "limit": "4.00",
        "limit_nusd": 4 * 10**9,
        "spent": "1.00",
        "spent_nusd": 10**9,
        "reserved": "1.00",
        "reserved_nusd": 10**9,
        "allotted_nusd": 0,
    }
    assert bar_of(row) == SPENT * 5 + RESERVED * 5 + FREE * 10
    assert used_share(row) == 0.5
    assert bar_of({"scope": "acme"}) == ""
    assert bar_of(limit(0, 0, 0, 0)) == ""


def test_a_tree_hangs_each_scope_below_the_nearest_that_is_there() -> None:
    """In the order of paths, not of letters (`acme-2` is not between `acme` and its children)."""
    assert list(
        tree_labels(["acme-2", "acme/a/b", "acme", "acme/a", "x/y", "acme/c/d"]).items()
    ) == [
        ("acme", "acme"),
        ("acme/a", "  a"),
        ("acme/a/b", "    b"),
        ("acme/c/d", "  c/d"),
        ("acme-2", "acme-2"),
        ("x/y", "x/y"),
    ]


@pytest.mark.parametrize(
    ("text", "document", "words"),
    [
        ("5.00", {"usd": "5.00"}, "$5.00"),
        ("1.00/day", {"usd": "1.00", "window": "day"}, "$1.00 per day"),
        ("usd=0.000000001/month", {"usd": "0.000000001", "window": "month"}, None),
        ("tokens=100000/hour", {"tokens": 100_000, "window": "hour"}, "100000 tokens per hour"),
        ("requests=600/minute", {"requests": 600, "window": "minute"}, "600 requests per minute"),
        ("concurrency=20", {"concurrency": 20}, "20 in flight"),
    ],
)
def test_limits_are_read_and_said(text: str, document: dict[str, Any], words: str | None) -> None:
    """The short form becomes what the API takes, money as the decimal string that was typed."""
    assert parse_limit(text, "again") == document
    assert words is None or written_words(document) == words


def test_an_overrun_is_less_than_nothing() -> None:
    """What is free below zero has its sign before the dollar."""
    assert amount_words("usd", "-0.0000086") == "-$0.0000086"
    assert amount_words("requests", -2) == "-2 requests"


def test_a_limit_says_its_models() -> None:
    """A limit for some models is not one for all."""
    assert limit_words({**limit(5, 0, 0, 0), "models": ["gpt*"]}) == "5 tokens per day for gpt*"


@given(st.text(max_size=60))
def test_no_text_breaks_the_reading_of_a_limit(text: str) -> None:
    """It is a limit, or it is told what a limit looks like."""
    try:
        document = parse_limit(text, "again")
    except CommandFailed as failure:
        assert failure.next_command == "again"  # noqa: PT017  # either is right
    else:
        assert set(document) <= {"usd", "tokens", "requests", "concurrency", "window"}


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("90m", datetime(2026, 11, 28, 10, 30, tzinfo=UTC)),
        ("7d", datetime(2026, 11, 21, 12, 0, tzinfo=UTC)),
        ("2w", datetime(2026, 11, 14, 12, 0, tzinfo=UTC)),
        ("99999w", datetime(1970, 1, 1, tzinfo=UTC)),
        ("2026-11-01", datetime(2026, 11, 1, tzinfo=UTC)),
        ("2026-11-01T01:00:00+02:00", datetime(2026, 10, 31, 23, 0, tzinfo=UTC)),
        ("0001-01-01", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_since_is_a_moment(text: str, start: datetime) -> None:
    """How far back, or a date in UTC; never before what ClickHouse can hold."""
    assert since_time(text, NOW) == start


@pytest.mark.parametrize("text", ["", "7", "d", "-1d", "7y", "0d", "2026-13-01", "now"])
def test_what_is_no_moment_is_told(text: str) -> None:
    """With a command that shows how."""
    with pytest.raises(CommandFailed) as raised:
        since_time(text, NOW)
    assert raised.value.next_command == "comptroller report spend --since 7d"


def test_a_frame_shows_hostile_names_as_text() -> None:
    """Markup and escape sequences of scopes, agents and errors are letters like others."""
    evil = "[bold]\x1b[2J\x07"
    event = dict.fromkeys(("event_type", "scope", "agent", "model", "error"), evil)
    event["time"] = "2026-11-28 12:00:00.123"
    row = {**limit(5, 5, 0, 0), "scope": f"acme/{evil}", "state": "open"}
    minute = {"minute": "12:00", "requests": 2, "refused": 1, "charged_nusd": 1_500_000_000}
    shown = {
        "minutes": [minute],
        "in_flight": [row],
        "tightest": [row],
        "events": [{**event, "charged_nusd": 12}],
    }
    output = io.StringIO()
    Console(file=output, width=220, force_terminal=False).print(
        frame({**shown, "trouble": f"no records: {evil}"}, NOW)
    )
    text = output.getvalue()
    assert "$1.50 spent, 2 requests, 1 refused" in text
    assert text.count("[bold]\\x1b[2J\\x07") == 8
    assert "\x1b" not in text
    assert "\x07" not in text
