"""What is written about the admin API is what it is."""

import re
from pathlib import Path

import console.errors
from console.app import calls_of
from console.door import OPEN
from console.errors import ConsoleError, QueryRefused
from tests.console.desk import Console

TEXT = (Path(__file__).parents[2] / "docs" / "admin-api.md").read_text(encoding="utf-8")


async def test_every_call_is_documented_with_its_role(console: Console) -> None:
    """Each row of the table is a call that there is, with the least role that may make it."""
    rows = re.findall(r"^\| `(\w+) (/[^`?]*)[^`]*` \| (\w+) \|", TEXT, re.MULTILINE)
    documented = {(path, method, role) for method, path, role in rows}
    calls = {(path, method, role or "nobody") for path, method, role in calls_of(console.app)} | {
        ("/openapi.json", "GET", "nobody")
    }
    assert documented == calls


async def test_every_error_code_is_documented() -> None:
    """With its status."""
    errors = [
        each
        for each in vars(console.errors).values()
        if isinstance(each, type) and issubclass(each, ConsoleError) and each is not QueryRefused
    ]
    assert len(errors) > 10
    rows = re.findall(r"^\| ([\d, ]+) \| `(\w+)` \|", TEXT, re.MULTILINE)
    documented = {(int(status), code) for statuses, code in rows for status in statuses.split(",")}
    assert {(each.status, each.code) for each in errors} <= documented
    assert (400, "clickhouse_N") in documented


async def test_openapi_and_its_page_tell_of_every_call(console: Console) -> None:
    """The document names each call with a description, and the page shows them without a script."""
    document = (await console.client.get("/openapi.json")).json()
    page = (await console.client.get("/docs")).text
    for path, method, _ in calls_of(console.app):
        if path != "/docs":
            call = document["paths"][path][method.lower()]
            assert call["description"], path
            assert f"{method} {path}" in page
    assert "<script" not in page
    assert "subscopes" in page
    assert set(OPEN) >= {"/docs"}


async def test_no_schema_of_an_answer_but_the_makers_has_a_secret(console: Console) -> None:
    """`key` and `token` are in what is answered once."""
    document = (await console.client.get("/openapi.json")).json()
    schemas = document["components"]["schemas"]
    with_secret = {
        name for name, each in schemas.items() if {"key", "token"} & set(each.get("properties", ()))
    }
    assert with_secret == {"KeyMade", "TokenMade"}
