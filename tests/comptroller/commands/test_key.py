"""`comptroller key` on a real stack: what it prints is so."""

from pathlib import Path

import pytest

from comptroller.exits import FAILED, USAGE_ERROR
from tests.comptroller.commands.administered import Administered
from tests.comptroller.commands.forked import forked
from tests.gateway.wire import post

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_key_lives_and_dies_by_commands(stack: Administered) -> None:
    """Minted with its budget, models, agent and tags; usable at once, within them; rotated, after
    which the old secret is refused; revoked, after which the new one is."""
    ran = await stack(
        *("key", "create", "ci", "--scope", "acme/nightly", "--budget", "0.50/day"),
        *("--budget", "requests=2", "--models", "demo/small", "--agent", "ci-bot"),
        *("--tag", "team=a", "--expires-in", "30d", "--json"),
    )
    assert ran.code == 0, ran.err
    key = ran.document
    assert (key["scope"], key["agent"], key["tags"]) == ("acme/nightly", "ci-bot", {"team": "a"})
    assert key["delegates"] is False
    assert key["expires_at_ms"] - key["created_at_ms"] == 30 * 86_400_000
    assert (await stack.chat(key["key"])).status_code == 200
    assert (await stack.chat(key["key"], model="demo/large")).status_code == 403
    shown = await stack("budget", "show", key["budget_scope"], "--json")
    limits = [(each["dimension"], each["window"]) for each in shown.document["limits"]]
    assert limits == [("usd", "day"), ("requests", "total")]

    rotated = await stack("key", "rotate", key["id"], "--overlap", "0s", "--json")
    assert rotated.code == 0, rotated.err
    assert (await stack.chat(key["key"])).status_code == 401
    assert (await stack.chat(rotated.document["key"])).status_code == 200

    revoked = await stack("key", "revoke", key["id"])
    assert "status\trevoked" in revoked.out
    assert (await stack.chat(rotated.document["key"])).status_code == 401


async def test_a_secret_is_printed_once_and_by_no_other_command(stack: Administered) -> None:
    """`create` prints it; `list`, `show` and `revoke` do not, in no form."""
    ran = await stack("key", "create", "ci", "--scope", "acme")
    fields = dict(line.split("\t") for line in ran.out.splitlines())
    assert ran.out.startswith("key\t")
    assert "COMPTROLLER_KEY" in ran.err
    assert (await stack.chat(fields["key"])).status_code == 200
    for more in ((), ("--json",)):
        for arguments in (("list",), ("show", fields["id"]), ("revoke", fields["id"])):
            other = await stack("key", *arguments, *more)
            assert other.code == 0, other.err
            assert fields["id"] in other.out
            assert fields["key"] not in other.out + other.err


async def test_lists_have_all_keys(stack: Administered) -> None:
    """Those of the file and those of the API, one JSON object a line or a line of a table."""
    await stack("key", "create", "ci", "--scope", "other/x")
    rows = (await stack("key", "list", "--json")).documents
    found = {(row["name"], row["scope"], row["status"]) for row in rows}
    assert found >= {("first", "demo", "active"), ("ci", "other/x", "active")}
    table = [line.split("\t") for line in (await stack("key", "list")).out.splitlines()]
    assert table[0][:4] == ["id", "name", "scope", "status"]
    assert ["key-first", "first", "demo", "active"] in [line[:4] for line in table]
    assert not any("ck-" in field for line in table for field in line)


async def test_mistakes_are_told_with_what_to_type(stack: Administered) -> None:
    """Unknown ids exit 1, bad values 2; the last line is a command."""
    cases = {
        ("show", "key-nobody"): (FAILED, "comptroller key list"),
        ("revoke", "../budgets"): (FAILED, "comptroller key list"),
        ("create", "ci", "--scope", "a//b"): (USAGE_ERROR, "comptroller key create --help"),
        ("create", "c i", "--scope", "acme"): (USAGE_ERROR, "comptroller key create --help"),
        ("create", "ci", "--scope", "acme", "--expires-in", "soon"): (
            USAGE_ERROR,
            "comptroller key create --help",
        ),
        ("create", "ci", "--scope", "acme", "--tag", "x"): (
            USAGE_ERROR,
            "comptroller key create --help",
        ),
        ("create", "ci", "--scope", "acme", "--budget", "1.00/fortnight"): (
            USAGE_ERROR,
            "comptroller key create --help",
        ),
        ("rotate", "key-first", "--overlap", "1s"): (USAGE_ERROR, "comptroller key rotate --help"),
    }
    for arguments, expected in cases.items():
        ran = await stack("key", *arguments)
        assert (ran.code, ran.next_command) == expected, ran.err
        assert ran.out == ""


@pytest.mark.parametrize("way", ["data dir", "variables", "option"])
async def test_the_stack_is_found(stack: Administered, tmp_path: Path, way: str) -> None:
    """By the data dir, by variables alone, by the option with the token's variable."""
    elsewhere = ("--data-dir", str(tmp_path))
    match way:
        case "data dir":
            ran = await stack("key", "list")
        case "variables":
            variables = {"COMPTROLLER_ADMIN_URL": stack.url, "COMPTROLLER_ADMIN_TOKEN": stack.token}
            ran = await forked("key", "list", *elsewhere, environment=variables)
        case _:
            ran = await stack(
                *("key", "list", "--admin-url", stack.url), COMPTROLLER_ADMIN_TOKEN=stack.token
            )
    assert ran.code == 0, ran.err
    assert "key-first" in ran.out


async def test_a_wrong_token_is_told_where_the_right_one_is(stack: Administered) -> None:
    """Exit 1, the command that reads it, and the token in no message."""
    ran = await stack("key", "list", COMPTROLLER_ADMIN_TOKEN="ca-wrong-0123456789")
    assert ran.code == FAILED
    token_file = stack.running.data_dir / "admin-token"
    assert ran.next_command == f"export COMPTROLLER_ADMIN_TOKEN=$(cat {token_file})"
    assert "ca-wrong" not in ran.err


async def test_a_token_that_others_can_read_is_not_used(stack: Administered) -> None:
    """As ssh does with a key: the error says chmod."""
    token_file = stack.running.data_dir / "admin-token"
    token_file.chmod(0o644)
    try:
        ran = await stack("key", "list")
    finally:
        token_file.chmod(0o600)
    assert ran.code == FAILED
    assert "chmod 600" in ran.err


async def test_a_key_that_delegates_is_made_by_an_option(stack: Administered) -> None:
    """What it mints on the data port is in the operator's list with the id of its minter, and can
    be revoked there."""
    ran = await stack("key", "create", "planner", "--scope", "acme", "--delegates", "--json")
    assert ran.code == 0, ran.err
    key = ran.document
    assert key["delegates"] is True
    made = await post(stack.running.port, key["key"], {"name": "helper"}, path="/v1/keys")
    assert made.status == 201, made.body
    assert (await stack.chat(made.json["key"])).status_code == 200
    shown = (await stack("key", "show", made.json["id"], "--json")).document
    assert (shown["minted_by"], shown["scope"]) == (key["id"], key["budget_scope"])
    assert (await stack("key", "revoke", made.json["id"])).code == 0
    assert (await stack.chat(made.json["key"])).status_code == 401
