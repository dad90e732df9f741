"""What `comptroller up` says, keeps and hands on: one secret on the terminal, none where it is not
needed."""

from pathlib import Path

from tests.comptroller.commands.commanding import comptroller
from tests.comptroller.standing import (
    admin_get,
    cwd_of,
    environment_of,
    files_with,
    readable_by_others,
)
from tests.gateway.processes import Running, comptroller_up, descendants
from tests.gateway.wire import post

TOKEN = "ca-a-token-of-the-operators-own"
PROVIDER_KEY = "sk-of-the-operator-0123456789"
DOCUMENT = {"model": "demo/small", "messages": [{"role": "user", "content": "hello"}]}
HOSTILE = 'raise SystemExit("a module of the folder that the user stands in")\n'


def first_key(running: Running) -> str:
    """As the data dir has it."""
    return (running.data_dir / "first-key").read_text(encoding="ascii")


async def test_the_greeting_and_what_lies_in_the_data_dir(folder: Path) -> None:
    """One secret is printed, the first key, and the address of an admin API that answers its
    generated token; no file is readable by others but the addresses, and logs hold no secret."""
    async with comptroller_up(folder, record=True, admin=True) as running:
        key = first_key(running)
        token = (running.data_dir / "admin-token").read_text(encoding="ascii")
        assert {word.strip("'\"") for word in running.output.split() if "ck-" in word} == {key}
        assert token not in running.output
        assert (running.data_dir / "admin.url").read_text() in running.output
        assert (await admin_get(running, "/v1/budgets", token)).status_code == 200
        assert (await admin_get(running, "/v1/budgets", f"{token}x")).status_code == 401
        assert (await admin_get(running, "/docs")).status_code == 200
        assert (await post(running.port, key, DOCUMENT)).status == 200
        assert readable_by_others(running.data_dir) == {"admin.url", "gateway.url"}
        for private in (running.data_dir, running.data_dir / "records", running.data_dir / "logs"):
            assert private.stat().st_mode & 0o077 == 0
        for secret in (key, token):
            assert not files_with(running.data_dir / "logs", secret)
        assert files_with(running.data_dir, token) == [Path("admin-token")]


async def test_a_token_of_the_operators_own(folder: Path) -> None:
    """COMPTROLLER_ADMIN_TOKEN opens the admin API and nothing earlier does; it is not printed, in
    no file, and in no child's environment; the ledger's server has none of the operator's secrets
    at all."""
    async with comptroller_up(folder, admin=True) as running:
        generated = (running.data_dir / "admin-token").read_text(encoding="ascii")
    environment = {"COMPTROLLER_ADMIN_TOKEN": TOKEN, "OPENAI_API_KEY": PROVIDER_KEY}
    async with comptroller_up(folder, admin=True, record=True, environment=environment) as running:
        assert (await admin_get(running, "/v1/budgets", TOKEN)).status_code == 200
        assert (await admin_get(running, "/v1/budgets", generated)).status_code == 401
        assert TOKEN not in running.output
        assert not files_with(running.data_dir, TOKEN)
        family = descendants(running.process.pid)
        assert len(family) == 4
        for pid in family:
            assert TOKEN not in environment_of(pid).values(), pid
        assert PROVIDER_KEY not in environment_of(running.ledger()).values()
        assert not environment_of(running.ledger())


async def test_a_master_key_that_names_the_variable_of_the_token(folder: Path) -> None:
    """All parts start, and take a reload: the token is the supervisor's alone."""
    config = {"general_settings": {"master_key": "os.environ/COMPTROLLER_ADMIN_TOKEN"}}
    environment = {"COMPTROLLER_ADMIN_TOKEN": TOKEN}
    async with comptroller_up(
        folder, config=config, admin=True, record=True, environment=environment
    ) as running:
        workers = running.workers()
        assert (await admin_get(running, "/v1/budgets", TOKEN)).status_code == 200
        reloaded = await comptroller(
            "reload", "--data-dir", str(running.data_dir), environment=environment
        )
        assert reloaded.code == 0, reloaded.err
        assert running.workers() == workers
        for pid in descendants(running.process.pid):
            assert TOKEN not in environment_of(pid).values(), pid


async def test_the_folder_that_the_user_stands_in_is_no_place_for_modules(folder: Path) -> None:
    """Files and folders there that are called as ours or as the standard library's are never run:
    people start a gateway inside of their own project."""
    for name in ("gateway", "comptroller", "console", "budgets"):
        (folder / name).mkdir()
        (folder / name / "__init__.py").write_text(HOSTILE)
    for name in ("yaml", "logging", "uvicorn", "json"):
        (folder / f"{name}.py").write_text(HOSTILE)
    async with comptroller_up(folder, record=True, admin=True) as running:
        assert (await post(running.port, first_key(running), DOCUMENT)).status == 200
        for pid in running.workers():
            assert cwd_of(pid) == folder


async def test_what_was_changed_of_the_first_key_stays(folder: Path) -> None:
    """A budget that was set by the command line still holds after the next start, and a secret that
    was rotated away does not come back to life."""
    async with comptroller_up(folder, admin=True) as running:
        old, where = first_key(running), ("--data-dir", str(running.data_dir))
        raised = await comptroller("budget", "set", "demo/key-first", "7.00", *where)
        assert raised.code == 0, raised.err
        rotated = await comptroller(
            "key", "rotate", "key-first", "--overlap", "0s", "--json", *where
        )
        new = rotated.document["key"]
    async with comptroller_up(folder, admin=True) as running:
        assert old not in running.output[running.printed_before :]
        assert (await post(running.port, old, DOCUMENT)).status == 401
        assert (await post(running.port, new, DOCUMENT)).status == 200
        shown = await comptroller("budget", "show", "demo/key-first", "--json", *where)
        assert [each["limit"] for each in shown.document["limits"]] == ["7.00"]
