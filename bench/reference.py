"""nginx with LuaJIT doing the same job, measured in the same run: what the ratio is taken to.

It runs our own two scripts on a valkey-server of its own, with a plan made by the gateway's own
code, so that the ledger's work is the same and only what surrounds it differs. nginx with its Lua
module comes from the system's packages; where it is missing the bench says so and goes on.
"""

import asyncio
import getpass
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path
from string import Template
from types import TracebackType
from typing import Self

from bench.cases import (
    BUDGETS,
    INPUT_TOKENS_MAX,
    KEY_BUDGET,
    KEY_SCOPE,
    MODEL,
    ORGANISATION,
    OUTPUT_NUSD_PER_TOKEN,
    OUTPUT_TOKENS_DEFAULT,
    OUTPUT_TOKENS_LEAST,
)
from bench.children import BenchFailed
from bench.meter import Group
from budgets.administration import Administration
from budgets.embedded import EmbeddedServer
from budgets.ledger import Ledger
from budgets.pipelined import NodeAddress, PipelinedTransport
from budgets.plan import Plan, ScopePath
from budgets.policy import parse_policy
from budgets.scripts import load_scripts
from budgets.session import Session
from gateway.clock import SystemClock

PACKAGES = "apt-get install nginx-light libnginx-mod-http-lua"
MODULE = Path("/usr/lib/nginx/modules/ngx_http_lua_module.so")
READY_TIMEOUT_S = 10.0
# As large as the events that the gateway writes for these requests.
EVENT_BYTES_REQUEST, EVENT_BYTES_RESPONSE = 340, 330
LEASE_MS, OUTBOX_MAX, BODIES_MAX = 60_000, 10**7, 2**40
_HERE = Path(__file__).parent


def missing() -> str:
    """Why there is no reference here, empty if there is one."""
    if shutil.which("nginx") and MODULE.exists():
        return ""
    return f"nginx with its Lua module is not installed ({PACKAGES})"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Reference:
    """nginx and its ledger, from `with` to its end."""

    def __init__(self, provider_port: int) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="comptroller-bench-")
        self._path = Path(self._folder.name)
        self._provider_port = provider_port
        self._server = EmbeddedServer(self._path / "d")
        self.port = free_port()

    @property
    def socket_path(self) -> Path:
        """Where its ledger listens."""
        return self._server.socket_path

    @property
    def ledger(self) -> Group:
        """The processes of its ledger."""
        return Group(self._server.pid)

    @property
    def nginx(self) -> Group:
        """The processes of nginx."""
        return Group(self._nginx.pid)

    def __enter__(self) -> Self:
        self._server.start()
        plan, shas = asyncio.run(self._plan())
        (self._path / "prepared.lua").write_bytes(_prepared(plan, shas, self._server.socket_path))
        shutil.copy(_HERE / "reference.lua", self._path)
        conf = Template((_HERE / "reference.conf").read_text()).substitute(
            folder=self._path,
            modules=MODULE.parent,
            user=getpass.getuser(),
            port=self.port,
            provider_port=self._provider_port,
        )
        (self._path / "nginx.conf").write_text(conf)
        with (self._path / "nginx.log").open("wb") as log:
            self._nginx = subprocess.Popen(
                ["nginx", "-p", self._path, "-c", self._path / "nginx.conf"], stderr=log
            )
        self._wait()
        return self

    def _wait(self) -> None:
        give_up = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < give_up and self._nginx.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise BenchFailed(f"nginx did not start: {(self._path / 'nginx.log').read_text()}")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._nginx.terminate()
        self._nginx.wait()
        self._server.stop()
        self._folder.cleanup()

    async def _plan(self) -> tuple[Plan, dict[str, str]]:
        """The budgets of the bench in this ledger, the plan for its key, the scripts loaded."""
        transport = PipelinedTransport(NodeAddress(unix_path=str(self._server.socket_path)))
        scripts = load_scripts()
        session = Session(transport, scripts, SystemClock())
        administration = Administration(session)
        await session.open_organisation(ORGANISATION, create=True)
        for scope, budget in {**BUDGETS, KEY_SCOPE: KEY_BUDGET}.items():
            await administration.set_policy(scope, parse_policy(budget), b"{}")
        shas = {}
        for name in ("reserve", "settle"):
            sha = await transport.command("SCRIPT", "LOAD", scripts[name].text)
            assert isinstance(sha, bytes)
            shas[name] = sha.decode()
        plan = await Ledger(session).plan(ScopePath(KEY_SCOPE, KEY_SCOPE), MODEL)
        await transport.close()
        return plan, shas


def _prepared(plan: Plan, shas: dict[str, str], socket_path: Path) -> bytes:
    """A Lua module with every part of the two commands that is the same for all requests."""
    names = ("ledger", "outbox", "bodies", "leases", "expiry", "done:0")
    keys = [f"{{{ORGANISATION}}}:{name}".encode() for name in names]
    numbers = (
        *(1, 0, 400_000, OUTPUT_NUSD_PER_TOKEN * 1000, INPUT_TOKENS_MAX // 1000, 1000, 1, 1),
        *(OUTPUT_TOKENS_DEFAULT, OUTPUT_TOKENS_LEAST, LEASE_MS, OUTBOX_MAX, BODIES_MAX),
        len(plan.nodes),
    )
    head = [b"EVALSHA", shas["reserve"].encode(), b"6", *keys, struct.pack("<14q", *numbers)]
    middle = [KEY_SCOPE.encode() + b"f" * 64, plan.expected, plan.attempts, plan.limits]
    middle.append(b"e" * EVENT_BYTES_REQUEST)
    settle = [b"EVALSHA", shas["settle"].encode(), b"6", *keys]
    settle.append(struct.pack("<5q", 1, 0, 650_000, 450, 1))
    reserve_count = len(head) + len(middle) + len(plan.fields) + 2  # and the id and the body
    parts = {
        "socket_path": str(socket_path).encode(),
        "reserve_head": b"*%d\r\n" % reserve_count + _bulks(head),
        "reserve_middle": _bulks(middle),
        "reserve_fields": _bulks(list(plan.fields)),
        "settle_head": b"*%d\r\n" % (len(settle) + 3) + _bulks(settle),
        "settle_event": _bulks([b"e" * EVENT_BYTES_RESPONSE]),
    }
    lines = [b'%b = "%b"' % (name.encode(), _escaped(part)) for name, part in parts.items()]
    return b"return {" + b",\n".join(lines) + b"}\n"


def _bulks(parts: list[bytes]) -> bytes:
    return b"".join(b"$%d\r\n%b\r\n" % (len(part), part) for part in parts)


def _escaped(part: bytes) -> bytes:
    return b"".join(b"\\%03d" % byte for byte in part)
