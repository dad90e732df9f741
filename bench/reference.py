"""The reference: nginx with LuaJIT in front of the same ledger, and nginx that only proxies.

It reserves and settles with the product's own scripts on a valkey-server of the same kind, and
forwards to the same provider. What a worker of the gateway has cached is worked out here once, by
the product's own code, and given to nginx as a Lua module. It does less than the gateway does: it
parses no JSON, prices by the length of the body, and knows one key, one model and one path.
"""

import asyncio
import contextlib
import getpass
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench import cases
from bench.children import BenchFailed
from bench.meter import Group
from budgets.administration import Administration
from budgets.embedded import EmbeddedServer
from budgets.ledger import Ledger
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.plan import Plan, ScopePath
from budgets.policy import parse_policy
from budgets.scripts import load_scripts
from budgets.session import Session, SessionOptions
from gateway.clock import SystemClock
from gateway.events import RequestEvent, ResponseEvent, encode

TRUSTS = SessionOptions(trusts=True)

INSTALL = "apt-get install nginx-light libnginx-mod-http-lua"
START_TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 5.0
_HERE = Path(__file__).parent.absolute()
_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")
_ID_MARK = "I" * 32
# Of the usual number of digits, and found nowhere else in an event.
_RESERVED_MARK, _COST_MARK = 123_456_789, 987_654


@dataclass(frozen=True, slots=True)
class Reference:
    """A running nginx with its ledger."""

    budgets_port: int
    plain_port: int
    nginx: Group
    ledger: Group
    socket_path: Path


def missing() -> str:
    """Why the reference cannot run here, with the command that helps; empty if it can."""
    nginx = _program()
    if nginx is None:
        return f"nginx is not installed: {INSTALL}"
    if _modules(nginx) is None:
        return f"nginx has no Lua module: {INSTALL}"
    return ""


@contextlib.contextmanager
def running(upstream_port: int, folder: Path) -> Iterator[Reference]:
    """nginx and a ledger of its own below `folder`, ended with the block. Raises BenchFailed."""
    folder.mkdir()
    ledger = EmbeddedServer(folder)
    ledger.start()
    try:
        module = asyncio.run(_prepared(ledger.socket_path))
        (folder / "bench_plan.lua").write_text(module, encoding="ascii")
        budgets_port, plain_port = free_port(), free_port()
        filled = _filled(folder, upstream_port, budgets_port, plain_port)
        (folder / "nginx.conf").write_text(filled, encoding="utf-8")
        with _nginx(folder, (budgets_port, plain_port)) as pid:
            yield Reference(
                budgets_port, plain_port, Group(pid), Group(ledger.pid), ledger.socket_path
            )
    finally:
        ledger.stop()


@contextlib.contextmanager
def _nginx(folder: Path, ports: tuple[int, ...]) -> Iterator[int]:
    program = _program()
    assert program is not None
    command = [program, "-p", str(folder), "-c", str(folder / "nginx.conf")]
    with (folder / "nginx.out").open("wb") as output:
        process = subprocess.Popen(
            [*command, "-e", str(folder / "error.log")],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        for port in ports:
            _wait_for(port, process, folder)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]", folder: Path) -> None:
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.02)  # nginx does not say when it listens
    logs = [folder / "nginx.out", folder / "error.log"]
    said = "".join(log.read_text(errors="replace")[-1000:] for log in logs if log.exists())
    raise BenchFailed(f"nginx did not start: {said}")


def free_port() -> int:
    """A port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program() -> str | None:
    """nginx, also where /usr/sbin is on nobody's path but root's."""
    return shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")


def _filled(folder: Path, upstream_port: int, budgets_port: int, plain_port: int) -> str:
    nginx = _program()
    assert nginx is not None
    values = {
        "MODULES": "\n".join(f"load_module {path};" for path in _modules(nginx) or ()),
        "USER": getpass.getuser(),
        "FOLDER": str(folder),
        "LUA": str(_HERE),
        "UPSTREAM_PORT": str(upstream_port),
        "BUDGETS_PORT": str(budgets_port),
        "PLAIN_PORT": str(plain_port),
        "PROVIDER_KEY": cases.PROVIDER_KEY,
    }
    template = (_HERE / "nginx.conf").read_text(encoding="utf-8")
    return re.sub(r"@([A-Z_]+)@", lambda found: values[found[1]], template)


def _modules(nginx: str) -> list[Path] | None:
    """The loadable modules that Lua needs: none where it is built in, None where there is none."""
    build = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr
    if re.search(r"--add-module=\S*(lua-nginx-module|ngx_lua)", build):
        return []
    found = re.search(r"--modules-path=(\S+)", build)
    paths = [Path(found[1]) / name for name in _MODULES] if found else []
    return paths if paths and all(path.exists() for path in paths) else None


async def _prepared(socket_path: Path) -> str:
    """Sets the budgets, loads the scripts, and gives the Lua module with the plan."""
    transport = PipelinedTransport(NodeAddress(unix_path=str(socket_path)))
    scripts = load_scripts()
    session = Session(transport, scripts, SystemClock(), TRUSTS)
    try:
        await session.open_organisation(cases.ORGANISATION, create=True)
        administration = Administration(session)
        for scope, limits in [*cases.BUDGETS.items(), (cases.KEY_SCOPE, cases.KEY_BUDGET)]:
            await administration.set_policy(scope, parse_policy(limits), b"{}")
        for name in ("reserve", "settle"):
            await transport.command("SCRIPT", "LOAD", scripts[name].text)
        ledger = Ledger(session)
        plan = await ledger.plan(ScopePath(cases.KEY_SCOPE, cases.KEY_SCOPE), cases.MODEL)
        slot = await session.slot(cases.ORGANISATION)
        shas = {name: scripts[name].sha for name in ("reserve", "settle")}
        values = _plan_values(plan, socket_path, slot.keys, shas)
        values |= _numbers(ledger, slot.epoch, slot.seq, len(plan.nodes))
    finally:
        await transport.close()
    lines = [f"  {name} = {_lua(value)}," for name, value in values.items()]
    return "\n".join(["return {", *lines, "}\n"])


def _plan_values(
    plan: Plan, socket_path: Path, keys: tuple[bytes, ...], shas: dict[str, bytes]
) -> dict[str, object]:
    return {
        "socket": f"unix:{socket_path}".encode(),
        "authorization": f"Bearer {cases.CLIENT_SECRET}".encode(),
        "scope": cases.KEY_SCOPE.encode(),
        "keys": list(keys),
        "done_prefix": keys[0].removesuffix(b"ledger") + b"done:",
        "reserve_sha": shas["reserve"],
        "settle_sha": shas["settle"],
        "expected": plan.expected,
        "attempts": plan.attempts,
        "limits": plan.limits,
        "fields": list(plan.fields),
        "request_event": _request_event(),
        "response_event": _response_event(),
        "input_nusd": cases.INPUT_NUSD_PER_TOKEN,
        "output_nusd": cases.OUTPUT_NUSD_PER_TOKEN,
    }


def _numbers(ledger: Ledger, epoch: int, seq: int, nodes: int) -> dict[str, object]:
    """The packed numbers of both scripts, in the order that `budgets.ledger` has them; those at 2
    and 4 (reserve), 2 and 3 (settle) are set for each request."""
    options = ledger.options
    usd_pusd_per_output = cases.OUTPUT_NUSD_PER_TOKEN * 1000
    output = [cases.OUTPUT_TOKENS_DEFAULT, cases.OUTPUT_TOKENS_LEAST]
    bounds = [options.lease_ms, options.outbox_events_max, options.bodies_bytes_max, nodes]
    return {
        "reserve_numbers": [epoch, seq, 0, usd_pusd_per_output, 0, 1000, 1, 1, *output, *bounds, 0],
        "settle_numbers": [epoch, seq, 0, 0, 1],
    }


def _request_event() -> bytes:
    """A format for Lua with the id open, otherwise what the gateway writes for these requests."""
    event = RequestEvent(
        request_id=_ID_MARK,
        scope=cases.KEY_SCOPE,
        key_id=f"key-{cases.KEY_NAME}",
        agent="",
        endpoint="/v1/chat/completions",
        provider="openai",
        model_requested=cases.MODEL,
        model=cases.PROVIDER_MODEL,
        streamed=False,
        input_tokens_max=1_000,
        output_cap_asked=0,
        price_version="abcabcabcabc",
        request_bytes=1_000,
        payload_state="full",
    )
    return encode(event).replace(_ID_MARK.encode(), b"%s")


def _response_event() -> bytes:
    """The same for the answer: id, reserved and charged nano-dollars open."""
    event = ResponseEvent(
        request_id=_ID_MARK,
        scope=cases.KEY_SCOPE,
        key_id=f"key-{cases.KEY_NAME}",
        agent="",
        endpoint="/v1/chat/completions",
        provider="openai",
        model_requested=cases.MODEL,
        model=cases.PROVIDER_MODEL,
        streamed=False,
        status=200,
        usage_source="provider",
        reserved_nusd=_RESERVED_MARK,
        charged_nusd=_COST_MARK,
        price_version="abcabcabcabc",
        model_served=cases.PROVIDER_MODEL,
        finish_reason="stop",
        text_input=250,
        text_output=200,
        first_byte_ms=1,
        duration_ms=1,
        response_bytes=500,
        payload_state="full",
    )
    text = encode(event).replace(_ID_MARK.encode(), b"%s")
    for mark in (_RESERVED_MARK, _COST_MARK):
        text = text.replace(str(mark).encode(), b"%d")
    return text


def _lua(value: object) -> str:
    """A Lua literal of bytes, integers and lists of these."""
    if isinstance(value, list):
        return "{ " + ", ".join(_lua(each) for each in value) + " }"
    if isinstance(value, int):
        return str(value)
    assert isinstance(value, bytes)
    return '"' + "".join(f"\\{byte:03d}" for byte in value) + '"'
