"""The client of the admin API: what it sends, to whom, and what it makes of each answer."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from comptroller.admin_client import (
    ANSWER_BYTES_MAX,
    AdminAbsent,
    AdminAddress,
    AdminClient,
    AdminRefused,
    admin_address,
)
from comptroller.data_dir import held

TOKEN = "ca-of-a-test"
URL = "http://127.0.0.1:4001"
Answer = Callable[[httpx.Request], httpx.Response]


def client(answer: Answer) -> AdminClient:
    """A client whose calls are answered by a function."""
    return AdminClient(AdminAddress(URL, TOKEN), transport=httpx.MockTransport(answer))


CALLS: list[tuple[str, str, object, Callable[[AdminClient], Any]]] = [
    ("POST", "/v1/keys", {"name": "a"}, lambda c: c.create_key({"name": "a"})),
    ("GET", "/v1/keys/k", None, lambda c: c.key("k")),
    ("GET", "/v1/keys/..%2Fx%3Fy", None, lambda c: c.key("../x?y")),
    ("DELETE", "/v1/keys/k", None, lambda c: c.revoke_key("k")),
    (
        "POST",
        "/v1/keys/k/rotate",
        {"overlap": "1h"},
        lambda c: c.rotate_key("k", {"overlap": "1h"}),
    ),
    ("PUT", "/v1/budgets", {"scope": "a"}, lambda c: c.set_budget({"scope": "a"})),
    ("GET", "/v1/budgets?scope=a%2Fb", None, lambda c: c.budget("a/b")),
    ("DELETE", "/v1/budgets?scope=a", None, lambda c: c.unset_budget("a")),
    ("POST", "/v1/budgets/freeze", {"scope": "a"}, lambda c: c.freeze("a")),
    ("POST", "/v1/budgets/thaw", {"scope": "a"}, lambda c: c.thaw("a")),
]


@pytest.mark.parametrize(("method", "target", "body", "call"), CALLS)
def test_each_call_is_the_one_of_the_contract(
    method: str, target: str, body: object, call: Callable[[AdminClient], Any]
) -> None:
    """Method, path, query and body of the design's table, with the token as a bearer; the answer is
    handed on as it is. Nothing in a name reaches another path."""
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={"id": "k", "more": [1]})

    assert call(client(answer)) == {"id": "k", "more": [1]}
    (request,) = seen
    assert (request.method, request.url.raw_path.decode()) == (method, target)
    assert (json.loads(request.content) if request.content else None) == body
    assert request.headers["authorization"] == f"Bearer {TOKEN}"


def test_lists_are_read_to_their_end() -> None:
    """Page after page, each from where the last one ended; below a scope only what is."""
    pages = {
        None: (["acme", "acme-2"], "acme-2"),
        "acme-2": (["acme/research"], None),
    }

    def answer(request: httpx.Request) -> httpx.Response:
        scopes, following = pages[request.url.params.get("after")]
        budgets = [{"scope": scope, "limits": []} for scope in scopes]
        assert request.url.params.get("organisation") in (None, "acme")
        return httpx.Response(200, json={"budgets": budgets, "next": following})

    assert [each["scope"] for each in client(answer).budgets()] == [
        *("acme", "acme-2", "acme/research"),
    ]
    below = [each["scope"] for each in client(answer).budgets("acme")]
    assert below == ["acme", "acme/research"]


def test_rows_of_sql_are_by_column() -> None:
    """With parameters beside the query, never in it."""

    def answer(request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"query": "SELECT {n:UInt8}", "parameters": {"n": 1}}
        columns = [{"name": "a", "type": "UInt8"}, {"name": "b", "type": "String"}]
        return httpx.Response(200, json={"columns": columns, "rows": [[1, "x"]], "statistics": {}})

    assert client(answer).sql("SELECT {n:UInt8}", {"n": 1}) == [{"a": 1, "b": "x"}]


def test_a_refusal_is_told_as_it_is() -> None:
    """Status, code, message and field of the one shape of errors."""
    error = {"message": "no", "type": "t", "code": "not_found", "param": "id"}
    with pytest.raises(AdminRefused, match=r"^no$") as raised:
        client(lambda _: httpx.Response(404, json={"error": error})).key("k")
    assert (raised.value.status, raised.value.code, raised.value.param) == (404, "not_found", "id")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=["a list"]),
        httpx.Response(500, text="oops"),
        httpx.Response(404, json={"detail": "Not Found"}),
        httpx.Response(302, headers={"location": "http://elsewhere.invalid/"}),
        httpx.Response(200, content=b" " * (ANSWER_BYTES_MAX + 1)),
    ],
    ids=["html", "list", "text", "another shape", "redirect", "too much"],
)
def test_what_does_not_answer_as_an_admin_api_is_none(answer: httpx.Response) -> None:
    """Another server on that port: said so, the token is sent nowhere else, memory is bounded."""
    asked: list[str] = []

    def answered(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return answer

    with pytest.raises(AdminAbsent, match=URL):
        client(answered).key("k")
    assert asked == [f"{URL}/v1/keys/k"]


def test_no_answer_is_told_with_the_address() -> None:
    """A stack that was killed leaves its address behind."""

    def gone(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused", request=request)

    with pytest.raises(AdminAbsent, match=f"{URL}: connection refused"):
        client(gone).key("k")


def test_what_is_given_wins_over_the_data_dir(tmp_path: Path) -> None:
    """Address and token each by itself; neither is shown by the address's repr."""
    (tmp_path / "admin.url").write_text("http://127.0.0.1:5001/\n")
    token_file = tmp_path / "admin-token"
    token_file.write_text("ca-of-the-data-dir\n")
    token_file.chmod(0o600)
    with held(tmp_path):
        found = admin_address("", "", tmp_path)
        assert admin_address("", TOKEN, tmp_path).token == TOKEN
    assert (found.url, found.token) == ("http://127.0.0.1:5001", "ca-of-the-data-dir")
    assert "ca-of" not in repr(found)
    assert admin_address(URL, "", tmp_path).url == URL


def test_an_address_that_a_killed_stack_has_left_is_not_used(tmp_path: Path) -> None:
    """Nobody has the data dir: whoever listens there now must not be sent the token."""
    with held(tmp_path):
        pass  # the lock's file is there, as after a kill
    (tmp_path / "admin.url").write_text(URL)
    with pytest.raises(AdminAbsent, match="no stack with an admin API runs"):
        admin_address("", TOKEN, tmp_path)


@pytest.mark.parametrize(
    ("url", "token"),
    [
        ("", TOKEN),
        (URL, ""),
        ("127.0.0.1:4001", TOKEN),
        ("http://user:pass@127.0.0.1", TOKEN),
        ("ftp://127.0.0.1", TOKEN),
        ("http://[::1", TOKEN),
        ("http://127.0.0.1:99999", TOKEN),
        (URL, "two words"),
        (URL, "caf\u00e9"),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path: Path, url: str, token: str) -> None:
    """No address, no token, or ones that no header or URL takes: before anything is sent."""
    with pytest.raises(AdminAbsent):
        admin_address(url, token, tmp_path)
