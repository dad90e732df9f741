"""A program gets its input, its variables and no secret of the server; its output is what it wrote
or printed, within bounds; and nothing of it is left when it ended, was cancelled, or the
orchestrator was killed."""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.kinds.contract import StepFailed
from orchestrator.running import processes
from orchestrator.running.printed import ERROR_CHARS_MAX, LINE_BYTES_MAX, Errors
from orchestrator.running.programs import (
    FUNCTION_RUNNER,
    OUTPUT_BYTES_MAX,
    Program,
    Programs,
)

SECRET = "ck-planted-secret"
# It says so in a pipe of ours, waits for ever, and a grandchild in its group does, too.
WITH_GRANDCHILD = """
import os, signal, sys
{ignoring}
grandchild = os.fork()
os.write({pipe}, f"{{os.getpid()}}\\n".encode())
while True:
    signal.pause()
"""


@pytest.fixture
def programs() -> Iterator[Programs]:
    """Closed at the end."""
    found = Programs()
    yield found
    found.close()


def python(code: str) -> tuple[str, ...]:
    """A program that starts fast."""
    return (sys.executable, "-I", "-S", "-c", code)


class Ran:
    """Runs programs in a folder, and keeps what they log."""

    def __init__(self, programs: Programs, folder: Path) -> None:
        self.programs = programs
        self.folder = folder
        self.lines: list[str] = []

    async def __call__(
        self,
        *argv: str,
        given: Any = None,
        env: Mapping[str, str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Any:
        program = Program(argv, self.folder, env or {}, variables or {}, given, (SECRET,))
        return await self.programs.run(program, self.lines.append)


@pytest.fixture
def run(programs: Programs, tmp_path: Path) -> Ran:
    """In a folder of its own."""
    return Ran(programs, tmp_path)


async def test_what_it_prints_is_its_output(run: Ran) -> None:
    """As JSON where it is, else as a text; nothing is an empty text. It works in its folder."""
    assert await run("echo", '{"a": [1]}') == {"a": [1]}
    assert await run("printf", "no json\n\n") == "no json\n"
    assert await run("true") == ""
    assert await run("pwd") == str(run.folder)
    assert await run("printf", "NaN") == "NaN"


async def test_what_it_writes_is_its_output(run: Ran) -> None:
    """Whatever it prints beside. Its input is in a file, in a folder that is its own, and gone
    when it has ended."""
    code = """
import json, os, stat
given = os.environ["COMPTROLLER_INPUT"]
mode = stat.S_IMODE(os.stat(os.path.dirname(given)).st_mode)
value = {"given": json.load(open(given)), "mode": mode, "at": given}
open(os.environ["COMPTROLLER_OUTPUT"], "w").write(json.dumps(value))
print("x" * 2 ** 21)
"""
    found = await run(*python(code), given={"topic": "owls"})
    assert found["given"] == {"topic": "owls"}
    assert found["mode"] == 0o700
    assert not Path(found["at"]).parent.exists()


async def test_its_output_has_no_secret(run: Ran) -> None:
    """Printed as a text or as JSON, or written; nor does what hides it there break it."""
    said = {SECRET: ["a", f"Bearer {SECRET}"], "b": SECRET[:-1]}
    hidden = {"***": ["a", "Bearer ***"], "b": SECRET[:-1]}
    assert await run("printf", "%s", f"key={SECRET}\n") == "key=***"
    assert await run("echo", json.dumps(said)) == hidden
    writes = "import os, sys; open(os.environ['COMPTROLLER_OUTPUT'], 'w').write(sys.argv[1])"
    assert await run(*python(writes), json.dumps(said)) == hidden


async def test_its_environment_has_no_secret_of_the_server(
    run: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few variables of the server, those of the step, and the attempt's above them."""
    for name in ("COMPTROLLER_ADMIN_TOKEN", "COMPTROLLER_REDIS_URL", "OPENAI_API_KEY", "OTHER"):
        monkeypatch.setenv(name, "planted")
    monkeypatch.setenv("LC_ALL", "C")
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    found = await run(
        *python(code),
        env={"MINE": "1", "COMPTROLLER_KEY": "other", "COMPTROLLER_GUARD": "none"},
        variables={"COMPTROLLER_KEY": SECRET},
    )
    assert "planted" not in found.values()
    assert {name for name in found if name.startswith("COMPTROLLER_")} == {
        *("COMPTROLLER_KEY", "COMPTROLLER_INPUT", "COMPTROLLER_OUTPUT", "COMPTROLLER_GUARD")
    }
    assert found["COMPTROLLER_KEY"] == "***"
    assert found["COMPTROLLER_GUARD"] != "none"
    assert (found["MINE"], found["LC_ALL"], found["PATH"]) == ("1", "C", os.environ["PATH"])


async def test_a_failure_says_what_the_program_said_last(run: Ran) -> None:
    """All of it is in the log, line by line; the key is in neither, nor are its arguments."""
    code = f"""
import sys
for n in range(3000): print("line", n, file=sys.stderr)
sys.stderr.write("with {SECRET} in it")
sys.exit(3)
"""
    with pytest.raises(StepFailed, match=r"ended with 3: ") as failed:
        await run(*python(code))
    message = str(failed.value)
    assert message.endswith("line 2999\nwith *** in it")
    assert len(message) < ERROR_CHARS_MAX + 500
    assert "range(3000)" not in message
    assert not failed.value.is_final
    assert run.lines == [*(f"line {n}" for n in range(3000)), "with *** in it"]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("no-such-program",), "there is no program no-such-program: install it"),
        (("./there",), "may not be run"),
        (("echo", "a\0b"), "zero byte"),
        (("echo", "\ud800"), "half a character"),
    ],
)
async def test_what_cannot_be_started_fails_for_good(
    run: Ran, argv: tuple[str, ...], words: str
) -> None:
    """With what to do."""
    (run.folder / "there").write_text("")
    with pytest.raises(StepFailed, match=words) as failed:
        await run(*argv)
    assert failed.value.is_final


async def test_a_folder_that_is_gone_is_said(programs: Programs, tmp_path: Path) -> None:
    """And not taken for the program's absence."""
    with pytest.raises(StepFailed, match=r"folder .* is gone"):
        await programs.run(Program(("true",), tmp_path / "x", {}, {}, None), print)


async def test_a_program_that_is_killed_says_by_what(run: Ran) -> None:
    """As when the system has no memory left."""
    with pytest.raises(StepFailed, match="was ended by signal 9"):
        await run(*python("import os; os.kill(os.getpid(), 9)"))


async def test_an_output_is_bounded(run: Ran) -> None:
    """Printed or written: up to the bound, and no byte more."""
    assert len(await run(*python(f"print('x' * {OUTPUT_BYTES_MAX}, end='')"))) == OUTPUT_BYTES_MAX
    with pytest.raises(StepFailed, match="into a file") as failed:
        await run(*python(f"print('x' * {50 * OUTPUT_BYTES_MAX})"))
    assert failed.value.is_final
    writes = "import os; open(os.environ['COMPTROLLER_OUTPUT'], 'w')"
    with pytest.raises(StepFailed, match="into a file"):
        await run(*python(f"{writes}.write('x' * {OUTPUT_BYTES_MAX + 1})"))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("open(path, 'w').write('{')", "is no JSON"),
        ("open(path, 'wb').write(bytes([255]))", "is no JSON"),
        ("os.mkfifo(path)", "is no file"),
        ("os.symlink('/etc/passwd', path)", "is no file"),
        ("os.mkdir(path)", "is no file"),
    ],
)
async def test_an_output_is_json_in_a_plain_file(run: Ran, code: str, words: str) -> None:
    """Nothing of it makes the orchestrator wait, or read another file."""
    with pytest.raises(StepFailed, match=words):
        await run(*python(f"import os; path = os.environ['COMPTROLLER_OUTPUT']; {code}"))


class Family:
    """A program and its grandchild; each holds the writing end of a pipe of ours while it lives."""

    def __init__(self) -> None:
        self._reading, writing = os.pipe()
        self.writing = f"/proc/{os.getpid()}/fd/{writing}"
        self._writing = writing

    def code(self, ignoring: str = "") -> str:
        """Of the program."""
        opened = f"os.open({self.writing!r}, os.O_WRONLY)"
        return WITH_GRANDCHILD.format(ignoring=ignoring, pipe=f"(pipe := {opened})")

    async def begun(self) -> None:
        """Both are there."""
        lines = b""
        while lines.count(b"\n") < 2:
            lines += await asyncio.to_thread(os.read, self._reading, 100)

    async def gone(self) -> None:
        """Both are no more: nobody can write any longer."""
        os.close(self._writing)
        async with asyncio.timeout(20):
            while await asyncio.to_thread(os.read, self._reading, 100):
                pass
        os.close(self._reading)


IGNORING = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


@pytest.mark.parametrize("ignoring", ["", IGNORING])
async def test_a_cancelled_program_ends_with_its_group(
    run: Ran, monkeypatch: pytest.MonkeyPatch, ignoring: str
) -> None:
    """By SIGTERM, and after a while by SIGKILL: before the cancellation is over."""
    monkeypatch.setattr(processes, "GRACE_S", 0.1 if ignoring else 20.0)
    family = Family()
    task = asyncio.create_task(run(*python(family.code(ignoring))))
    await family.begun()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await family.gone()


async def test_a_second_cancellation_does_not_wait(run: Ran) -> None:
    """It kills."""
    family = Family()
    task = asyncio.create_task(run(*python(family.code(IGNORING))))
    await family.begun()
    task.cancel()
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(processes.GRACE_S - 1):
        with pytest.raises(asyncio.CancelledError):
            await task
    await family.gone()


async def test_what_a_program_leaves_in_its_group_ends_with_it(run: Ran) -> None:
    """Also where it holds the program's pipes."""
    family = Family()
    code = f"import os\nif not os.fork():{family.code().replace(chr(10), chr(10) + '    ')}"
    waits = f"\nopen({str(run.folder / 'go')!r}).read()"
    os.mkfifo(run.folder / "go")
    task = asyncio.create_task(run(*python(code + waits)))
    await family.begun()
    await asyncio.to_thread((run.folder / "go").write_text, "")
    assert await task == ""
    await family.gone()


ORCHESTRATOR = """
import asyncio, sys
from pathlib import Path
from orchestrator.running.programs import Program, Programs
argv = (sys.executable, "-I", "-S", "-c", sys.argv[1])
asyncio.run(Programs().run(Program(argv, Path("."), {}, {}, None), print))
"""


@pytest.mark.parametrize("leaving", ["", "grandchild or os.setsid()"])
async def test_programs_end_with_an_orchestrator_that_is_killed(
    tmp_path: Path, leaving: str
) -> None:
    """All that they have started, whether in their group or not."""
    family = Family()
    code = family.code().replace("grandchild = os.fork()", f"grandchild = os.fork()\n{leaving}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", ORCHESTRATOR, code),
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    await family.begun()
    process.kill()
    await process.wait()
    await family.gone()


async def test_a_guard_that_was_killed_is_started_again(run: Ran) -> None:
    """Before the next program."""
    await run("true")
    guard = run.programs._guard
    assert guard is not None
    guard.kill()
    await asyncio.to_thread(guard.wait)
    await run("true")
    assert run.programs._guard is not guard
    assert run.programs._guard is not None
    assert run.programs._guard.poll() is None


MODULE = """
import asyncio
import json
def whole(a, b=2): return {"a": a, "b": b}
async def later(a): await asyncio.sleep(0); return [a]
def bad(): raise ValueError("no such luck")
def odd(): return {1, 2}
def leaves(): raise SystemExit(0)
"""


@pytest.fixture
def call(run: Ran) -> Callable[..., Any]:
    """Of a function in a module beside the definition, whose name one of ours has, too."""
    (run.folder / "guard.py").write_text(MODULE)

    async def called(name: str, **given: Any) -> Any:
        return await run(*FUNCTION_RUNNER, name, given=given)

    return called


async def test_a_function_is_called_by_name(call: Callable[..., Any]) -> None:
    """With its arguments; where it is a coroutine function, that is awaited."""
    assert await call("guard:whole", a=[1]) == {"a": [1], "b": 2}
    assert await call("guard:later", a=1) == [1]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("guard:bad", r"ValueError: no such luck \(.*guard.py:6, in bad\)$"),
        ("guard:odd", "TypeError: what guard:odd returned is no JSON"),
        ("guard:none", "has no attribute 'none'"),
        ("nowhere:f", "No module named 'nowhere'"),
        ("guard:whole", "missing 1 required positional argument: 'a'"),
        ("guard:leaves", "SystemExit: 0"),
    ],
)
async def test_a_function_that_fails_says_where(
    call: Callable[..., Any], name: str, words: str
) -> None:
    """In its last line."""
    with pytest.raises(StepFailed, match=words):
        await call(name)


@pytest.mark.parametrize("size", [1, 7, 4_000, LINE_BYTES_MAX, 1_000_000])
def test_a_secret_is_hidden_however_it_comes(size: int) -> None:
    """In pieces, and in lines that are far too long."""
    lines: list[str] = []
    errors = Errors((SECRET, ""), lines.append)
    data = (("x" * 8_180 + SECRET) * 20 + "\n" + SECRET + "\r\nend").encode()
    for at in range(0, len(data), size):
        errors.take(data[at : at + size])
    errors.end()
    assert SECRET not in "".join(lines)
    assert "".join(lines).replace("*", "").count("x") == 8_180 * 20
    assert lines[-2:] == ["***", "end"]
    assert max(len(each) for each in lines) <= LINE_BYTES_MAX
