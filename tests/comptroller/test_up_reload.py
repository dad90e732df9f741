"""The configuration is read again while everything runs: no request fails, all workers have the new
one when the reload has answered, and a file that cannot be used changes nothing anywhere."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from comptroller.commands.stack import configuration
from tests.comptroller.commands.forked import forked
from tests.comptroller.reloading import (
    SECRET,
    Reloading,
    document,
    nusd,
    priced,
    reloading,
    standing,
    until_logged,
)
from tests.comptroller.standing import files_with, loaded, until
from tests.gateway.behaviours import answers, held
from tests.gateway.fake_routes import INPUT_NUSD, OUTPUT_NUSD
from tests.pausing import pause

pytestmark = pytest.mark.asyncio(loop_scope="module")
NEW_SECRET = "ck-another-secret-of-some-length"
OLD_PRICE = INPUT_NUSD * 10**6
CHARGED_NUSD = 11 * INPUT_NUSD + 7 * OUTPUT_NUSD


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started() -> AsyncIterator[Reloading]:
    async with reloading() as stack:
        yield stack


@pytest_asyncio.fixture(loop_scope="module")
async def stack(started: Reloading) -> Reloading:
    """As it was at the start."""
    await started.reload()
    return started


async def test_everything_changes_under_load_and_no_request_fails(stack: Reloading) -> None:
    """A price, a model more, a model less, a budget and a key: each worker has them all when the
    reload has answered; a request that was in flight is settled by the price that it began with."""
    gate, seen = asyncio.Event(), len(stack.provider.received)
    stack.provider.behaviour = held(gate, answers())
    in_flight = asyncio.create_task(stack.ask("old"))

    async def is_received() -> bool:
        return len(stack.provider.received) > seen

    await until(is_received)
    stack.provider.behaviour = answers()
    stack.write(budgets={"acme/tight": [{"usd": "0.000001"}]})
    async with loaded(stack.running, SECRET, document(), callers=4) as statuses:
        assert (await stack.ask_to()).status_code == 200
        keys = [
            *stack.first["keys"],
            {"name": "new", "scope": "acme/tight", "secret": NEW_SECRET, "models": ["plain"]},
        ]
        done = await stack.reload(
            model_list=[priced(stack.entry, "plain", 3), priced(stack.entry, "more")],
            keys=keys,
            budgets={"acme/tight": [{"usd": "1"}]},
        )
        assert done["changed"] == ["model_list", "budgets", "keys"]
        table = {"plain": 3 * OLD_PRICE, "more": OLD_PRICE}
        assert await stack.prices_of_each() == [table, table]
        gone = await stack.ask("old")
        assert (gone.status, gone.error["code"]) == (404, "model_not_found")
        assert (await stack.ask("more")).status == 200
        answer = await stack.ask("plain", NEW_SECRET)
        assert answer.status == 200
        assert nusd(answer.headers["x-comptroller-cost-usd"]) == 3 * CHARGED_NUSD
    assert set(statuses) == {200}, statuses
    gate.set()
    old = await in_flight
    assert old.status == 200
    assert nusd(old.headers["x-comptroller-cost-usd"]) == CHARGED_NUSD
    view = stack.running.view("acme")
    changes = [each.event for each in await view.outbox() if each.kind == "budget_changed"]
    assert [each for each in changes if b'"acme/tight"' in each]
    assert all(b'"by":"first"' in each for each in changes if b'"acme/tight"' in each)
    await view.until_at_rest()


async def test_options_of_requests_and_rules_of_routing_change(stack: Reloading) -> None:
    """The bound of a body, the status of a refusal, an alias, a fallback to a second model."""
    await stack.reload(
        gateway={"body_bytes_max": 1024, "refusal_status": 418},
        router_settings={"model_group_alias": {"other": "plain"}},
    )
    assert (await stack.ask("other")).status == 200
    assert (await stack.ask("plain", user="u" * 2000)).status == 413
    await stack.reload()
    assert (await stack.ask("other")).status == 404
    assert (await stack.ask("plain", user="u" * 2000)).status == 200


@pytest.mark.parametrize("way", ["api", "command", "signal"])
async def test_a_file_that_cannot_be_used_changes_nothing(stack: Reloading, way: str) -> None:
    """Its line is named, by every way; the model before the mistake is not served, the budget not
    declared, and the log has it."""
    stack.write(model_list=[priced(stack.entry, "never")])
    lines = stack.file.read_text(encoding="utf-8").count("\n")
    with stack.file.open("a", encoding="utf-8") as file:
        file.write("budgetz: {acme/research: []}\n")
    place, told = f"{stack.file}:{lines + 1}", stack.logged()
    if way == "api":
        refused = await stack.ask_to()
        assert (refused.status_code, refused.json()["error"]["code"]) == (
            409,
            "configuration_refused",
        )
        assert place in refused.text
    elif way == "command":
        ran = await forked("reload", "--data-dir", str(stack.running.data_dir))
        assert (ran.code, ran.out) == (1, "")
        assert place in ran.err
    else:
        stack.hang_up()
    said = sum(place in each for each in told)
    await until_logged(stack, place, said + 1)

    async def is_noted() -> bool:
        return place in configuration(stack.running.data_dir)[0].message

    await until(is_noted)
    assert place in stack.running.output
    assert await stack.prices_of_each() == 2 * [{"plain": OLD_PRICE, "old": OLD_PRICE}]


async def test_what_needs_a_restart_is_named_and_nothing_is_applied(stack: Reloading) -> None:
    """All of it at once, by its name; values are not repeated."""
    stack.write(
        model_list=[priced(stack.entry, "never")],
        ledger={"lease_ms": 1234},
        redis_url="redis://:a-secret@127.0.0.1:1/0",
        gateway={"drain_ms": 1, "refusal_status": 418},
        general_settings={"master_key": "a-master-key-of-some-length"},
    )
    refused = await stack.ask_to()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "restart_needed")
    message = refused.json()["error"]["message"]
    names = "redis_url, gateway.drain_ms, ledger.lease_ms, general_settings.master_key cannot"
    assert names in message
    assert "secret" not in message
    assert await stack.prices_of_each() == 2 * [{"plain": OLD_PRICE, "old": OLD_PRICE}]


async def test_the_doctor_says_whether_the_file_is_loaded(stack: Reloading) -> None:
    """It is; it was changed since; it is again."""
    folder = stack.running.data_dir
    assert configuration(folder)[0].status == "ok"
    stack.write(model_list=[priced(stack.entry, "more")])
    (changed,) = configuration(folder)
    assert (changed.status, changed.do) == ("warn", "comptroller reload")
    assert (await stack.ask_to()).status_code == 200
    (loaded_now,) = configuration(folder)
    assert (loaded_now.status, str(stack.file) in loaded_now.message) == ("ok", True)
    assert not files_with(folder, "sk-provider-secret")


async def test_the_command_says_what_has_changed(stack: Reloading) -> None:
    """And in JSON, for programs."""
    stack.write(model_list=[priced(stack.entry, "plain", 2)])
    where = ("--data-dir", str(stack.running.data_dir))
    ran = await forked("reload", "--json", *where)
    assert (ran.code, ran.document["changed"]) == (0, ["model_list"])
    again = await forked("reload", *where)
    assert again.out == f"version {ran.document['version'] + 1}: nothing has changed\n"


async def test_two_signals_at_once_are_two_reloads(stack: Reloading) -> None:
    """One after the other, beside one over HTTP; all end on the last file."""
    version = (await stack.reload())["version"]
    stack.write(model_list=[priced(stack.entry, "plain", 2)])
    with standing({stack.running.process.pid}):  # a signal that is pending comes once
        stack.hang_up()
    asked = asyncio.create_task(stack.ask_to())
    stack.hang_up()
    answer = await asked
    assert answer.status_code == 200
    await until_logged(stack, f"version {version + 2} of")
    assert await stack.prices_of_each() == 2 * [{"plain": 2 * OLD_PRICE}]


async def test_a_worker_that_is_killed_in_the_middle_begins_with_the_new_file(
    stack: Reloading,
) -> None:
    """It does not answer, and dies: the reload is done when nobody serves by the old file, and the
    worker that comes after it has the new one, also where the file itself is broken by then."""
    workers = stack.running.workers()
    deaf = min(workers)
    pause(deaf)
    reload = asyncio.create_task(stack.reload(model_list=[priced(stack.entry, "plain", 5)]))
    table = {"plain": 5 * OLD_PRICE}

    async def other_has_it() -> bool:
        return await stack.prices() == table

    await until(other_has_it)
    assert not reload.done()
    stack.file.write_text("no: [configuration", encoding="utf-8")
    os.kill(deaf, signal.SIGKILL)
    await reload
    await stack.running.until_replaced({deaf}, 2)
    async with asyncio.timeout(60):
        assert await stack.prices_of_each() == [table, table]


async def test_a_worker_that_is_killed_later_has_what_the_others_have(stack: Reloading) -> None:
    """A file that was edited and not reloaded is nobody's, until somebody says so."""
    stack.write(model_list=[priced(stack.entry, "never")])
    killed = min(stack.running.workers())
    os.kill(killed, signal.SIGKILL)
    await stack.running.until_replaced({killed}, 2)
    table: Any = {"plain": OLD_PRICE, "old": OLD_PRICE}
    async with asyncio.timeout(60):
        assert await stack.prices_of_each() == [table, table]
