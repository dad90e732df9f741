"""Who may have the file read again, and what they are told."""

import dataclasses

import pytest

from console.app import build_console
from console.errors import ConfigurationRefused, LedgerGone, RestartNeeded
from console.reloading import Reloaded
from tests.console.desk import Console, listening


class Answers:
    """Reloads as it is told, and remembers for whom."""

    def __init__(self) -> None:
        self.by: list[str] = []
        self.refusal: Exception | None = None

    async def __call__(self, by: str) -> Reloaded:
        """See Reloads."""
        self.by.append(by)
        if self.refusal is not None:
            raise self.refusal
        return Reloaded(2, ("model_list", "keys"))


@pytest.fixture
def reloads() -> Answers:
    return Answers()


@pytest.fixture
def reloading(console: Console, reloads: Answers) -> Console:
    """A console that has somebody to ask."""
    parts = dataclasses.replace(console.parts, reloads=reloads)
    return dataclasses.replace(console, parts=parts, app=build_console(parts))


async def test_an_admin_reloads_under_the_name_of_the_token(
    reloading: Console, reloads: Answers
) -> None:
    """And reads which version holds, and what in it is new."""
    async with listening(reloading) as (client, _):
        answer = await client.post("/v1/reload")
    assert answer.json() == {"version": 2, "changed": ["model_list", "keys"]}
    assert reloads.by == ["first"]


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (ConfigurationRefused("comptroller.yaml:3: no"), 409, "configuration_refused"),
        (RestartNeeded("port"), 409, "restart_needed"),
        (LedgerGone("again"), 503, "ledger_unavailable"),
    ],
)
async def test_a_refusal_is_told(
    reloading: Console, reloads: Answers, refusal: Exception, status: int, code: str
) -> None:
    """With its own message, which has the line."""
    reloads.refusal = refusal
    async with listening(reloading) as (client, _):
        answer = await client.post("/v1/reload")
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["message"]) == (status, code, str(refusal))


async def test_nobody_else_may(console: Console) -> None:
    """Neither a smaller role, nor an admin of one organisation: the file is everybody's."""
    for role in ("viewer", "operator"):
        token = await console.token(role)
        await console.refused(403, "role_not_allowed", "POST", "/v1/reload", token=token)
    bound = await console.token("admin", "acme")
    await console.refused(403, "organisation_not_allowed", "POST", "/v1/reload", token=bound)


async def test_a_console_that_runs_by_itself_says_so(console: Console) -> None:
    """There is no supervisor to ask."""
    error = await console.refused(409, "configuration_refused", "POST", "/v1/reload")
    assert "by itself" in error["message"]
