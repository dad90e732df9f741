"""`comptroller run schedule` on a real stack: what it puts is there, what is decided holds, and
what cannot be names the field."""

from pathlib import Path

import pytest

from comptroller.exits import FAILED, USAGE_ERROR
from tests.comptroller.commands.administered import Administered

pytestmark = pytest.mark.asyncio(loop_scope="session")

WORKFLOW = """name: report
budget: [{usd: "2.00"}]
input: {topic: {type: string}, n: {type: integer, default: 1}}
steps: [{id: a, sleep: 1s}]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A workflow."""
    (tmp_path / "w.yaml").write_text(WORKFLOW)
    return str(tmp_path / "w.yaml")


async def test_a_schedule_from_its_first_to_its_last(stack: Administered, file: str) -> None:
    """Put, listed, paused, resumed, removed."""
    when = ("--cron", "0 6 1 1 *", "--zone", "Europe/Berlin", "--name", "yearly")
    put = ("run", "schedule", file, "--scope", "clock/lab", "--input", "topic=5", *when)
    made = await stack(*put, "--json")
    assert made.code == 0, made.err
    assert made.document["input"] == {"topic": "5", "n": 1}
    (row,) = (await stack("run", "schedules", "--organisation", "clock", "--json")).documents
    assert (row["name"], row["zone"], row["is_paused"]) == ("yearly", "Europe/Berlin", False)
    paused = await stack("run", "pause", "--schedule", "yearly", "--json")
    assert (paused.document["is_paused"], paused.document["next_ms"]) == (True, None)
    listed = await stack("run", "schedules", "--organisation", "clock")
    assert listed.out.splitlines()[1].split("\t")[:6] == [
        *("yearly", "report", "clock/lab", "0 6 1 1 *", "Europe/Berlin", "paused")
    ]
    resumed = await stack("run", "resume", "--schedule", "yearly", "--organisation", "clock")
    assert resumed.code == 0, resumed.err
    assert "\nnext\t2" in resumed.out
    assert (await stack("run", "unschedule", "yearly")).code == 0
    gone = await stack("run", "unschedule", "yearly")
    assert (gone.code, gone.next_command) == (FAILED, "comptroller run schedules")


async def test_what_cannot_be_is_said(stack: Administered, file: str) -> None:
    """With the field, and exit 2."""
    put = ("run", "schedule", file, "--scope", "clock/lab", "--input", "topic=5", "--name", "n")
    wrong = await stack(*put, "--cron", "0 25 * * *")
    assert (wrong.code, "hour is '25'" in wrong.err) == (USAGE_ERROR, True), wrong.err
    wrong = await stack(*put, "--cron", "0 6 * * *", "--zone", "Mars")
    assert (wrong.code, "no time zone 'Mars'" in wrong.err) == (USAGE_ERROR, True), wrong.err
    missing = await stack(*put[:5], "--name", "n", "--cron", "0 6 * * *")
    assert (missing.code, "needs the input topic" in missing.err) == (USAGE_ERROR, True)
    for arguments in (
        ("pause",),
        ("pause", "r" + "0" * 21, "--schedule", "n"),
        ("unschedule", "A"),
    ):
        assert (await stack("run", *arguments)).code == USAGE_ERROR, arguments
