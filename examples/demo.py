"""`make demo`: an agent with a small budget, from its first call to the hard stop, and the books.

It starts a stack of its own, on free ports and in a temporary folder, so that one which runs here
is not disturbed. With OPENAI_API_KEY in the environment the agent asks a small model of OpenAI's,
else the built-in demo model. Everything after the start is what a person would type.
"""

import contextlib
import json
import os
import shlex
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

READY_S_MAX = 60
STOPPED_S_MAX = 60
RECORDED_S_MAX = 20
STOPPED_BY_BUDGET = 3  # the agent's exit code
ATTEMPTS = 3  # of a start: a free port can be taken before it is used
SCOPE = "demo/support"
AGENT = Path(__file__).parent / "agent.py"
COMPTROLLER = Path(sys.executable).parent / "comptroller"

CALLS_SQL = (
    "SELECT model, streamed, input_tokens, output_tokens, reserved_nusd, charged_usd, "
    "sum(charged_usd) OVER (ORDER BY seq) AS total_usd FROM requests ORDER BY seq"
)
SUMS_SQL = (
    "SELECT sum(charged_nusd) AS charged_nusd, (SELECT count() FROM refusals) AS refusals "
    "FROM requests"
)


class DemoFailed(RuntimeError):
    """The demo did not go as it must; the message says what."""


class Provider(NamedTuple):
    """Who answers: the model's name, the budget that lets an agent begin but not finish, and the
    `model_list` that serves it (none: the demo models)."""

    title: str
    model: str
    budget_usd: str
    model_list: tuple[dict[str, Any], ...] = ()


DEMO = Provider("the built-in demo model: it needs no key", "demo/large", "0.01")
OPENAI_MODEL = "gpt-5.4-nano"
OPENAI_PRICE = {
    "input_cost_per_token": 0.0000002,
    "output_cost_per_token": 0.00000125,
    "max_input_tokens": 272_000,
    "max_output_tokens": 128_000,
}


def provider_of(environment: Mapping[str, str]) -> Provider:
    """OpenAI where there is a key of theirs; a key of a gateway like this one is none."""
    key = environment.get("OPENAI_API_KEY", "")
    if not key or key.startswith("ck-"):
        return DEMO
    params = {"model": f"openai/{OPENAI_MODEL}", "api_key": "os.environ/OPENAI_API_KEY"}
    if environment.get("OPENAI_BASE_URL"):  # the key is that server's, and goes nowhere else
        params["api_base"] = "os.environ/OPENAI_BASE_URL"
    entry = {"model_name": OPENAI_MODEL, "litellm_params": params, "model_info": OPENAI_PRICE}
    title = "OpenAI, as OPENAI_API_KEY is set: the budget below is real money"
    return Provider(title, OPENAI_MODEL, "0.0006", (entry,))


class Stack:
    """A running `comptroller up`, and commands on it."""

    def __init__(self, folder: Path, provider: Provider) -> None:
        kept = {n: each for n, each in os.environ.items() if not n.startswith("COMPTROLLER_")}
        self.environment = {
            **kept,
            "COMPTROLLER_DATA_DIR": str(folder / "data"),
            "COMPTROLLER_CLICKHOUSE_PORT": "0",
        }
        if provider.model_list:
            config = folder / "comptroller.yaml"
            config.write_text(json.dumps({"model_list": provider.model_list}))  # YAML has all JSON
            self.environment["COMPTROLLER_CONFIG"] = str(config)
        self.base_url = ""
        self._complaints = folder / "complaints.txt"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Until everything serves: then the greeting is printed. Raises DemoFailed."""
        for _ in range(ATTEMPTS):
            port = _free_port()
            with self._complaints.open("w") as complaints:
                self._process = subprocess.Popen(
                    [COMPTROLLER, "up", "--port", str(port), "--admin-port", "0"],
                    env=self.environment,
                    stdout=subprocess.PIPE,
                    stderr=complaints,
                    text=True,
                )
            assert self._process.stdout is not None
            with _killed_after(READY_S_MAX, self._process):
                if any(line.startswith("admin API") for line in self._process.stdout):
                    self.base_url = f"http://127.0.0.1:{port}/v1"
                    return
            self.stop()
            words = self._complaints.read_text()
            if "--port" not in words:
                raise DemoFailed(f"the stack did not start: {words or 'it was too slow'}")
        raise DemoFailed(f"no port stayed free, {ATTEMPTS} times: {words}")

    def stop(self) -> int:
        """As a supervisor does; the exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        process.terminate()
        with _killed_after(STOPPED_S_MAX, process):
            process.communicate()
        return process.returncode

    def run(self, *arguments: str, shown: bool = True) -> str:
        """A command's output. Raises DemoFailed where it fails."""
        if shown:
            _show("comptroller", *arguments)
        ran = subprocess.run(
            [COMPTROLLER, *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if ran.returncode:
            raise DemoFailed(f"comptroller {arguments[0]}: {ran.stdout}{ran.stderr}")
        return ran.stdout

    def ask(self, *arguments: str, shown: bool = False) -> dict[str, Any]:
        """A command's answer as one object."""
        answer: dict[str, Any] = json.loads(self.run(*arguments, "--json", shown=shown))
        return answer


def play(stack: Stack, provider: Provider, *flags: str) -> None:
    """The story, while the stack runs. Raises DemoFailed."""
    key = stack.ask(
        *("key", "create", "support-agent", "--scope", SCOPE, "--budget", provider.budget_usd),
        shown=True,
    )
    print(f"{key['id']}: may spend ${provider.budget_usd}, below {SCOPE}")
    _show("python", "examples/agent.py", *flags)
    stopped = subprocess.run(
        [sys.executable, AGENT, *flags],
        env={
            **stack.environment,
            "OPENAI_BASE_URL": stack.base_url,
            "OPENAI_API_KEY": key["key"],
            "AGENT_MODEL": provider.model,
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        },
        check=False,
    )
    if stopped.returncode != STOPPED_BY_BUDGET:
        raise DemoFailed(f"the budget did not stop the agent: it ended with {stopped.returncode}")
    (limit,) = stack.ask("budget", "show", key["budget_scope"])["limits"]
    _until_recorded(stack, limit["spent_nusd"])
    print(stack.run("sql", CALLS_SQL, "--format", "PrettyCompactMonoBlock"), end="")
    print(stack.run("verify"), end="")
    print(
        f"\nthe ledger    ${limit['spent']} spent of ${limit['limit']}, ${limit['free']} left\n"
        f"the records   ${Decimal(limit['spent_nusd']) / 10**9:f} in the events above: the same"
    )
    if limit["spent_nusd"] > limit["limit_nusd"]:
        raise DemoFailed("the provider billed more than it was allowed to: see `report overruns`")
    print("the stop      came before the call that might not have fitted, not after it")


def _until_recorded(stack: Stack, spent_nusd: int) -> None:
    """Waits for what the recorder writes behind the answers; each question takes its time."""
    deadline = time.monotonic() + RECORDED_S_MAX
    sums: dict[str, Any] = {}
    while time.monotonic() < deadline:
        sums = stack.ask("sql", SUMS_SQL)
        if int(sums["charged_nusd"]) == spent_nusd and int(sums["refusals"]):
            return
    raise DemoFailed(f"the ledger has {spent_nusd} nano-dollars, the records have {sums}")


def _show(*command: str) -> None:
    """As it is typed."""
    print(f"\n$ {shlex.join(command)}", flush=True)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def _killed_after(seconds: float, process: subprocess.Popen[str]) -> Iterator[None]:
    """Ends a process that takes too long: whoever reads from it goes on."""
    timer = threading.Timer(seconds, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def main() -> int:
    """0 where the stop came, and all books agree."""
    flags = sys.argv[1:]
    if flags not in ([], ["--stream"]):
        print("usage: python examples/demo.py [--stream]", file=sys.stderr)
        return 2
    provider = provider_of(os.environ)
    began = time.monotonic()
    print(f"model: {provider.model}, {provider.title}", flush=True)
    with tempfile.TemporaryDirectory(prefix="comptroller-demo-") as folder:
        stack = Stack(Path(folder), provider)
        try:
            stack.start()
            print(f"stack: {stack.base_url}, its own, in a temporary folder")
            play(stack, provider, *flags)
        except KeyboardInterrupt:
            return 130
        except DemoFailed as failure:
            print(f"\ndemo: {failure}", file=sys.stderr)
            return 1
        finally:
            code = stack.stop()
    print(f"stopped with {code}; {time.monotonic() - began:.0f} s in all")
    return code


if __name__ == "__main__":
    sys.exit(main())
