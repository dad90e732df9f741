"""Which settings a reload takes and which need a restart, for every setting that there is; and that
one reload comes after the other."""

import asyncio
import dataclasses
from pathlib import Path
from typing import Any

import pytest

from budgets.transport import LedgerUnavailable
from comptroller.channel import Configuration, ReloadAnswer, ReloadWanted
from comptroller.document import read_written
from comptroller.options import OPTIONS, Option
from comptroller.reload import LEDGER, REFUSED, RESTART, Reloads, changed_parts, restart_needed
from comptroller.settings import Settings, load_settings

TAKEN = {
    *("refusal_status", "body_bytes_max", "answer_bytes_max", "output_tokens_default"),
    *("output_tokens_least", "learn_bounds", "usage_cost", "retry_unknown", "wait_ms"),
    *("replay_answers_max", "replay_bytes_max", "replay_answer_bytes_max", "minted_keys_max"),
    *("connect_timeout_ms", "first_byte_timeout_ms", "idle_timeout_ms"),
}
TEXTS = {
    "redis_url": "redis://h/1",
    "database_url": "postgresql://h/runs",
    "clickhouse_url": "http://h:1",
    "host": "127.0.0.2",
}


def other(option: Option) -> str:
    """A sound value that is not the default."""
    if isinstance(option.default, bool):
        return str(not option.default).lower()
    if isinstance(option.default, int):
        return str(option.default + 1)
    if option.choices:
        return next(each for each in option.choices if each != option.default)
    return TEXTS.get(option.name, "other")


@pytest.mark.parametrize("option", OPTIONS, ids=lambda each: each.full_name)
def test_a_setting_is_taken_or_named(option: Option) -> None:
    """None is neither: what a reload does not take it refuses by name."""
    before = load_settings(None, {})
    now = load_settings(None, {option.variable: other(option)})
    assert now != before
    expected = [] if option.name in TAKEN else [option.full_name]
    assert restart_needed(before, now) == expected
    if option.name in TAKEN:
        # What may be tried again is a rule of the router, too.
        assert set(changed_parts(before, now)) <= {"gateway", "router_settings"}
        assert changed_parts(before, now)


class Applied:
    """Applies as it is told, and notes when."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, int]] = []
        self.failure: Exception | None = None
        self.goes_on = asyncio.Event()
        self.goes_on.set()

    async def __call__(self, _: Settings, told: Configuration, by: str) -> None:
        """See Apply."""
        self.noted.append((f"{by} begins", told.version))
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure
        self.noted.append((f"{by} ends", told.version))


GOOD = "budgets:\n  acme: [{usd: '1'}]\n"


def write(file: Path, text: str | None) -> None:
    """What the file says from now on; None: it is gone."""
    if text is None:
        file.unlink()
    else:
        file.write_text(text, encoding="utf-8")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "comptroller.yaml"
    write(path, GOOD)
    return path


@pytest.fixture
def applied() -> Applied:
    return Applied()


@pytest.fixture
def reloads(file: Path, applied: Applied) -> Reloads:
    """Of a stack that has started."""
    written = read_written(file)
    found = Reloads(load_settings(written, {}), written, {}, applied)
    found.ready.set()
    return found


async def ask(reloads: Reloads, by: str = "somebody") -> ReloadAnswer:
    """One reload."""
    return await reloads(ReloadWanted(7, by))


async def test_one_comes_after_the_other(reloads: Reloads, applied: Applied) -> None:
    """Each is whole before the next begins, and each has a version of its own."""
    applied.goes_on.clear()
    asked = [asyncio.create_task(ask(reloads, by)) for by in ("one", "two")]
    async with asyncio.timeout(30):
        while not applied.noted:  # noqa: ASYNC110  # a thread reads the file
            await asyncio.sleep(0.001)
    applied.goes_on.set()
    answers = await asyncio.gather(*asked)
    assert [each.version for each in answers] == [2, 3]
    assert applied.noted == [("one begins", 2), ("one ends", 2), ("two begins", 3), ("two ends", 3)]


async def test_what_parts_get_is_what_was_read(reloads: Reloads, file: Path) -> None:
    """The text itself: whatever becomes of the file."""
    text = "budgets:\n  acme: [{usd: '2'}]\n"
    write(file, text)
    assert (await ask(reloads)).changed == ("budgets",)
    write(file, "no: [configuration")
    assert reloads.configuration.written is not None
    assert reloads.configuration.written.text == text


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("budgets:\n  acme: [{usd: x}]\n", REFUSED, "comptroller.yaml:2"),
        ("port: 5\nledger: {lease_ms: 400}\n", RESTART, "port, ledger.lease_ms cannot change"),
        (None, REFUSED, "comptroller.yaml: cannot be read"),
    ],
)
async def test_a_file_that_cannot_be_used_is_not_applied(
    reloads: Reloads, applied: Applied, file: Path, text: str | None, code: str, message: str
) -> None:
    """Nobody hears of it, and the next one that can be used is the next version."""
    write(file, text)
    answer = await ask(reloads)
    assert (answer.number, answer.version, answer.code) == (7, 1, code)
    assert message in answer.message
    assert not applied.noted
    write(file, GOOD)
    assert (await ask(reloads)).version == 2


@pytest.mark.parametrize(
    ("failure", "code"), [(LedgerUnavailable("away"), LEDGER), (KeyError("a fault"), REFUSED)]
)
async def test_what_fails_in_the_middle_can_be_asked_for_again(
    reloads: Reloads, applied: Applied, failure: Exception, code: str
) -> None:
    """The answer says so; what holds is still the earlier version."""
    applied.failure = failure
    answer = await ask(reloads)
    assert (answer.code, answer.version) == (code, 1)
    assert "in part" in answer.message
    applied.failure = None
    assert (await ask(reloads)).version == 2


async def test_without_a_file_there_is_nothing_to_read(applied: Applied) -> None:
    """The demo has none."""
    reloads = Reloads(load_settings(None, {}), None, {}, applied)
    reloads.ready.set()
    answer = await ask(reloads)
    assert (answer.code, "--config" in answer.message) == (REFUSED, True)


async def test_none_begins_once_the_stack_stops(reloads: Reloads, applied: Applied) -> None:
    """And the one that runs is given up."""
    applied.goes_on.clear()
    asked = asyncio.create_task(ask(reloads))
    async with asyncio.timeout(30):
        while not applied.noted:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
    await reloads.close()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (await ask(reloads)).code == REFUSED
    assert len(applied.noted) == 1


def test_parts_that_changed_are_told_by_their_names(reloads: Reloads, file: Path) -> None:
    """As the file has them."""
    before = load_settings(file, {})
    more: dict[str, Any] = {"budgets": (), "keys": before.keys}
    assert changed_parts(before, dataclasses.replace(before, **more)) == ("budgets",)
