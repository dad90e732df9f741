"""A client of the admin API, for commands that act on a running stack.

The address and the token come from the environment or from what `comptroller up` leaves in its data
dir. A token is sent to that address only: redirects are not followed, and a loopback address is
never asked through a proxy.
"""

import contextlib
import json
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from comptroller.admin_stream import Streamed, streamed
from comptroller.data_dir import admin_token_file, admin_url_file
from comptroller.left import left_by_who_runs
from comptroller.variables import ADMIN_TOKEN_VARIABLE, ADMIN_URL_VARIABLE

PAGE_ROWS = 100
TIMEOUT_S = 30.0
RELOAD_S_MAX = 120.0  # a translator may have to start
CONNECT_S_MAX = 5.0
COSTS_S_MAX = 10.0
COSTS_CONNECT_S_MAX = 1.0
ANSWER_BYTES_MAX = 32 * 2**20


class AdminAbsent(RuntimeError):
    """No admin API is known, or none answers; the message says where it was looked for."""


class AdminUnusable(AdminAbsent):
    """Address or token are none, or do not belong together: nothing was sent. `variable` is the one
    to be set."""

    def __init__(self, message: str, variable: str) -> None:
        super().__init__(message)
        self.variable = variable


class AdminRefused(RuntimeError):
    """The admin API said no: its status, `code` and message; `problems` of a workflow, each with a
    place and a message."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        param: str = "",
        problems: tuple[tuple[str, str], ...] = (),
    ) -> None:
        super().__init__(message)
        self.problems = problems
        self.status = status
        self.code = code
        self.param = param


@dataclass(frozen=True, slots=True)
class AdminAddress:
    """Where the admin API answers, and the token that it takes."""

    url: str
    token: str = field(repr=False)


def admin_address(url: str, token: str, data_dir: Path) -> AdminAddress:
    """As given, and what is not from the data dir; its token is for this machine only. Raises
    AdminAbsent, AdminUnusable."""
    found_url = _checked(url or _running(data_dir))
    if not token and url and not _is_loopback(url):
        raise AdminUnusable(
            f"the token in {data_dir} is for the stack on this machine, not for {found_url}",
            ADMIN_TOKEN_VARIABLE,
        )
    found_token = token or _read(_private(admin_token_file(data_dir)))
    if not found_token:
        raise AdminAbsent(f"there is no admin token in {admin_token_file(data_dir)}")
    if not (found_token.isascii() and found_token.isprintable() and " " not in found_token):
        raise AdminUnusable(
            "the admin token has characters that no token has", ADMIN_TOKEN_VARIABLE
        )
    return AdminAddress(found_url, found_token)


def _running(data_dir: Path) -> str:
    file = admin_url_file(data_dir)
    try:
        url = left_by_who_runs(file, data_dir)
    except (OSError, UnicodeDecodeError) as error:
        raise AdminAbsent(f"{file} cannot be read: {error}") from None
    if not url:
        raise AdminAbsent(f"no stack with an admin API runs on {data_dir}")
    return url


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise AdminAbsent(f"{file} cannot be read: {error}") from None


def _private(file: Path) -> Path:
    if file.exists() and stat.S_IMODE(file.stat().st_mode) & 0o077:
        raise AdminAbsent(f"{file} is readable by others: run chmod 600 on it")
    return file


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL):
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or set(url) & set(" @?#"):
        raise AdminUnusable(
            f"{url[:80]!r} is no URL of an admin API, as in http://127.0.0.1:4001",
            ADMIN_URL_VARIABLE,
        )
    return url.rstrip("/")


def _is_loopback(url: str) -> bool:
    host = (urlsplit(url).hostname or "").lower()
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


class AdminClient:
    """The calls of the admin API, one method each. All raise AdminAbsent, AdminRefused. Answers
    are as the API gives them."""

    def __init__(
        self, address: AdminAddress, *, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._url = address.url
        self._http = httpx.Client(
            base_url=address.url,
            headers={"Authorization": f"Bearer {address.token}"},
            timeout=httpx.Timeout(TIMEOUT_S, connect=CONNECT_S_MAX),
            trust_env=not _is_loopback(address.url),
            follow_redirects=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def create_key(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """`{id, key, scope, ...}`: the secret is in this answer only."""
        return self._object("POST", "/v1/keys", json=document)

    def keys(self) -> Iterator[dict[str, Any]]:
        """All keys, page by page, without secrets."""
        return self._listed("/v1/keys", "keys", {})

    def key(self, key_id: str, organisation: str = "") -> dict[str, Any]:
        """One key; of this organisation, where several have one of this id."""
        return self._object("GET", f"/v1/keys/{quote(key_id, safe='')}", params=_of(organisation))

    def rotate_key(
        self, key_id: str, document: Mapping[str, Any], organisation: str = ""
    ) -> dict[str, Any]:
        """The key with its new secret."""
        path = f"/v1/keys/{quote(key_id, safe='')}/rotate"
        return self._object("POST", path, json=document, params=_of(organisation))

    def revoke_key(self, key_id: str, organisation: str = "") -> dict[str, Any]:
        """Counts at the next call everywhere."""
        path = f"/v1/keys/{quote(key_id, safe='')}"
        return self._object("DELETE", path, params=_of(organisation))

    def set_budget(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Replaces the budget of a scope."""
        return self._object("PUT", "/v1/budgets", json=document)

    def budget(self, scope: str) -> dict[str, Any]:
        """`{scope, state, limits}`."""
        return self._object("GET", "/v1/budgets", params={"scope": scope})

    def unset_budget(self, scope: str) -> dict[str, Any]:
        """Takes the limits of a scope away."""
        return self._object("DELETE", "/v1/budgets", params={"scope": scope})

    def freeze(self, scope: str) -> dict[str, Any]:
        """Nothing below is granted until it is thawed."""
        return self._object("POST", "/v1/budgets/freeze", json={"scope": scope})

    def thaw(self, scope: str) -> dict[str, Any]:
        """Lets it go on."""
        return self._object("POST", "/v1/budgets/thaw", json={"scope": scope})

    def sql(self, query: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a read-only query, by column."""
        body = {"query": query, "parameters": dict(parameters)}
        answer = self._object("POST", "/v1/sql", json=body)
        names = [each["name"] for each in answer["columns"]]
        return [dict(zip(names, row, strict=True)) for row in answer["rows"]]

    def recost(self, document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Pages of what was charged and what is owed; each is booked when it comes, if asked."""
        place: dict[str, Any] = {}
        while True:
            body = {**document, **place}
            page = self._object("POST", "/v1/prices/recost", json=body)
            yield page
            if not page.get("next"):
                return
            place = {"after": page["next"]}

    def reload(self) -> dict[str, Any]:
        """`{version, changed}` of the configuration that holds now."""
        timeout = httpx.Timeout(RELOAD_S_MAX, connect=CONNECT_S_MAX)
        return self._object("POST", "/v1/reload", timeout=timeout)

    def routes(self, organisation: str = "") -> Iterator[dict[str, Any]]:
        """What was learned of routes, in order."""
        return self._listed("/v1/routes", "routes", _of(organisation))

    def reset_route(self, route: str, organisation: str = "") -> list[dict[str, Any]]:
        """Forgets it, and says what it was: a row for each organisation that had any."""
        body = {"route": route, **_of(organisation)}
        rows: list[dict[str, Any]] = self._object("POST", "/v1/routes/reset", json=body)["reset"]
        return rows

    def submit_run(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """`{id, scope, workflow, version, status, is_new}`."""
        return self._object("POST", "/v1/runs", json=document)

    def runs(self, **wanted: str) -> Iterator[dict[str, Any]]:
        """The newest first: by scope, workflow, status, or inside of one."""
        return self._listed(
            "/v1/runs", "runs", {name: each for name, each in wanted.items() if each}
        )

    def run(self, run: str) -> dict[str, Any]:
        """A run with its steps."""
        return self._object("GET", _run(run))

    def decide_run(
        self, run: str, act: str, document: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        """`act` as the API names it; the run as it is then, or the new one of a fork."""
        more = {} if document is None else {"json": document}
        return self._object("POST", f"{_run(run)}/{act}", **more)

    def run_output(self, run: str, step: str = "", entry: int | None = None) -> Any:  # noqa: ANN401  # JSON
        """What a run, a step or an entry has said."""
        below = "" if not step else f"/steps/{quote(step, safe='')}"
        below += "" if entry is None else f"/{entry}"
        return self._asked("GET", f"{_run(run)}{below}/output")

    def run_history(self, run: str) -> Iterator[dict[str, Any]]:
        """What happened in it, in order."""
        return self._listed(f"{_run(run)}/history", "events", {})

    @contextlib.contextmanager
    def run_stream(self, run: str, place: str = "") -> Iterator[Iterator[Streamed]]:
        """What is told of it live, after a place."""
        headers = {"last-event-id": place} if place else {}
        path = f"{_run(run)}/stream"
        with self._answered(), self._http.stream("GET", path, headers=headers) as answer:
            if answer.status_code != 200:
                _document(self._url, answer.status_code, answer.read())
            yield streamed(answer.iter_bytes())

    def compare_runs(self, left: str, right: str) -> dict[str, Any]:
        """Two runs, step by step."""
        return self._object("GET", "/v1/runs/compare", params={"left": left, "right": right})

    def workflow_costs(self, workflow: str, organisation: str = "") -> dict[str, Any]:
        """What its runs have cost. Nobody waits long for that."""
        path = f"/v1/workflows/{quote(workflow, safe='')}/costs"
        timeout = httpx.Timeout(COSTS_S_MAX, connect=COSTS_CONNECT_S_MAX)
        return self._object("GET", path, params=_of(organisation), timeout=timeout)

    def put_schedule(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """One of its name is replaced."""
        return self._object("POST", "/v1/schedules", json=document)

    def schedules(self, organisation: str = "") -> Iterator[dict[str, Any]]:
        """By organisation and name."""
        return self._listed("/v1/schedules", "schedules", _of(organisation))

    def decide_schedule(self, name: str, act: str, organisation: str = "") -> dict[str, Any]:
        """`act` as the API names it; empty: it is removed."""
        path = f"/v1/schedules/{quote(name, safe='')}"
        method, path = ("POST", f"{path}/{act}") if act else ("DELETE", path)
        return self._object(method, path, params=_of(organisation))

    def budgets(self, below: str = "") -> Iterator[dict[str, Any]]:
        """Every scope with a budget, in order; or only those at and below one."""
        organisation = {"organisation": below.partition("/")[0]} if below else {}
        for row in self._listed("/v1/budgets", "budgets", organisation):
            if not below or f"{row['scope']}/".startswith(f"{below}/"):
                yield row

    def _listed(self, path: str, name: str, more: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """All pages of a list."""
        place: dict[str, Any] = {}
        while True:
            answer = self._object("GET", path, params={**more, **place, "limit": PAGE_ROWS})
            yield from answer[name]
            if not answer.get("next"):
                return
            place = {"after": answer["next"]}

    def _object(self, method: str, path: str, **more: Any) -> dict[str, Any]:  # noqa: ANN401  # httpx's
        answer = self._asked(method, path, **more)
        if not isinstance(answer, dict):
            raise AdminAbsent(f"{self._url} does not answer as an admin API does")
        return answer

    def _asked(self, method: str, path: str, **more: Any) -> Any:  # noqa: ANN401  # JSON
        with self._answered(), self._http.stream(method, path, **more) as answer:
            content = bytearray()
            for piece in answer.iter_bytes():
                content += piece
                if len(content) > ANSWER_BYTES_MAX:
                    raise AdminAbsent(f"{self._url} answers more than {ANSWER_BYTES_MAX} bytes")
            status = answer.status_code
        return _document(self._url, status, bytes(content))

    @contextlib.contextmanager
    def _answered(self) -> Iterator[None]:
        try:
            yield
        except (httpx.HTTPError, UnicodeError) as error:  # a host name that no DNS could hold
            reason = str(error) or type(error).__name__
            raise AdminAbsent(f"no admin API answers at {self._url}: {reason}") from None


def _of(organisation: str) -> dict[str, str]:
    return {"organisation": organisation} if organisation else {}


def _document(url: str, status: int, content: bytes) -> Any:  # noqa: ANN401  # JSON
    try:
        document = json.loads(content) if content else {}
    except ValueError:
        raise AdminAbsent(f"{url} answers {status}, and not as an admin API does") from None
    if 200 <= status < 300:
        return document
    error = document.get("error") if isinstance(document, dict) else None
    if not isinstance(error, dict):
        raise AdminAbsent(f"{url} answers {status}, and not as an admin API does")
    message, code = str(error.get("message")), str(error.get("code"))
    raise AdminRefused(
        status, code, message, str(error.get("param") or ""), _problems(error.get("problems"))
    )


def _problems(said: object) -> tuple[tuple[str, str], ...]:
    rows = said if isinstance(said, list) else []
    return tuple((str(each.get("place")), str(each.get("message"))) for each in rows)


def _run(run: str) -> str:
    return f"/v1/runs/{quote(run, safe='')}"
