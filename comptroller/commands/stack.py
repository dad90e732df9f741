"""What of a running stack answers, and who has its ports where none runs."""

import asyncio
import errno
import socket
from pathlib import Path

import httpx

from budgets.embedded import SOCKET_PATH_BYTES_MAX
from budgets.transport import LedgerUnavailable
from clickhouse.engine import is_open_elsewhere
from comptroller.commands.findings import Finding, fail, ok, warn
from comptroller.commands.gateway import base_url, is_loopback
from comptroller.data_dir import (
    absolute,
    admin_url_file,
    logs_folder,
    records_folder,
    url_file,
)
from comptroller.in_force import read_in_force
from comptroller.settings import Settings

LOOPBACK = "127.0.0.1"
ANSWER_S_MAX = 5.0
UP = "comptroller up"
RELOAD = "comptroller reload"


def stack_findings(settings: Settings, config: Path | None) -> list[Finding]:
    """Of everything that runs on this data dir; where nothing does, whether its ports are free."""
    folder = absolute(settings.data_dir)
    ledger = _redis(settings) if settings.redis_url else _embedded(folder)
    if any(each.status == "fail" for each in ledger):
        return ledger
    if not ledger:
        return [*ok("stack", f"not running (`{UP}` starts it)"), *free_ports(settings)]
    gateway = _ready("gateway", base_url("", config, settings.data_dir).removesuffix("/v1"))
    if settings.redis_url and gateway.status == "fail":  # a Redis that answers is no stack of ours
        return [*ledger, *ok("stack", f"not running (`{UP}` starts it)"), *free_ports(settings)]
    parts = [gateway, *_records(settings, folder), *_admin(settings, folder)]
    return [*ledger, *parts, *configuration(folder)]


def configuration(folder: Path) -> list[Finding]:
    """Whether what runs serves by the file as it is; nothing where none was given."""
    in_force = read_in_force(folder)
    if in_force is None:
        return []
    if in_force.refused:
        message = f"the last reload was refused: {in_force.refused}"
        return warn("configuration", message, f"correct it, then: {RELOAD}")
    try:
        is_changed = in_force.is_changed
    except OSError as error:
        message = f"{in_force.file} is not there any more: {error.strerror}"
        return warn("configuration", message, "put it back, or nothing starts again")
    if is_changed:
        return warn("configuration", f"{in_force.file} was changed and is not loaded", RELOAD)
    return ok("configuration", f"{in_force.file}, version {in_force.version}")


def free_ports(settings: Settings) -> list[Finding]:
    """The ports that `up` will listen on."""
    found = _port("port", settings.host, settings.port, "--port") if settings.workers else []
    if settings.admin and settings.admin_port:
        found += _port("admin port", settings.admin_host, settings.admin_port, "--admin-port")
    wanted = settings.records.clickhouse_port
    if wanted and settings.record and not settings.records.clickhouse_url:
        found += _port("records port", LOOPBACK, wanted, "COMPTROLLER_CLICKHOUSE_PORT")
    return found


def _port(check: str, host: str, port: int, option: str) -> list[Finding]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return fail(check, f"{port} is taken by another process", f"choose with {option}")
            return fail(check, f"{host}:{port}: {error.strerror}", f"choose with {option}")
    return ok(check, f"{port} is free")


def _embedded(folder: Path) -> list[Finding]:
    """Nothing where it does not run."""
    path = folder / "ledger.sock"
    if len(str(path).encode()) > SOCKET_PATH_BYTES_MAX:
        return []
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(ANSWER_S_MAX)
        try:
            probe.connect(str(path))
            probe.sendall(b"PING\r\n")
            return ok("ledger", "answers") if probe.recv(16).startswith(b"+PONG") else []
        except OSError:
            return []


def _redis(settings: Settings) -> list[Finding]:
    """One that is not ours, as `up` judges it: each of its servers."""
    from comptroller.assured import judgements

    try:
        judged = asyncio.run(judgements(settings))
    except LedgerUnavailable as error:
        do = "start it, or correct COMPTROLLER_REDIS_URL"
        return fail("ledger", f"the Redis at COMPTROLLER_REDIS_URL does not answer: {error}", do)
    found: list[Finding] = []
    for each in judged:
        message = f"{each.server}: {each.message}"
        if each.verdict == "ok":
            found += ok("ledger", message)
        else:
            found += (fail if each.verdict == "refuse" else warn)("ledger", message, each.do)
    return found


def _ready(check: str, url: str, path: str = "/readyz") -> Finding:
    """One that serves HTTP."""
    try:
        with httpx.Client(timeout=ANSWER_S_MAX, trust_env=not is_loopback(url)) as client:
            answer = client.get(url + path)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        message = f"does not answer at {url}: {str(error) or type(error).__name__}"
        return fail(check, message, f"see the logs in the data dir, or start it again: {UP}")[0]
    if answer.status_code != 200:
        message = f"not ready: {url} answers {answer.status_code}"
        return fail(check, message, "see the logs in the data dir")[0]
    return ok(check, f"ready at {url}")[0]


def _records(settings: Settings, folder: Path) -> list[Finding]:
    if settings.records.clickhouse_url:
        return [_ready("records", settings.records.clickhouse_url.rstrip("/"), "/ping")]
    if not settings.record:
        return warn("records", "not recorded here", "some machine must: COMPTROLLER_RECORD=true")
    file = url_file(folder)
    if not file.exists() or not is_open_elsewhere(records_folder(folder)):
        return fail("records", "no recorder runs", f"see {folder / 'logs' / 'recorder.log'}")
    return [_ready("records", file.read_text(encoding="ascii"), "/ping")]


def _admin(settings: Settings, folder: Path) -> list[Finding]:
    if not settings.admin:
        return ok("admin API", "not on this machine")
    file = admin_url_file(folder)
    if not file.exists():
        return fail("admin API", "not running", f"see {logs_folder(folder) / 'admin.log'}")
    return [_ready("admin API", file.read_text(encoding="ascii").strip())]
