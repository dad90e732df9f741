"""docs/recipes.md as a reader types it, block after block, against a real stack. Its snippets in
Python and JavaScript are run in tests/clients/test_recipes.py, with the packages that they name.
"""

import json
import re
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.gateway.processes import comptroller_up
from tests.typed import typed

TEXT = (Path(__file__).parent.parent / "docs" / "recipes.md").read_text(encoding="utf-8")
PINS = Path(__file__).parent / "clients" / "recipes"


async def test_every_block_works_in_its_order(folder: Path) -> None:
    """A run has its template's budget; a key for an activity counts in its place; a hard stop looks
    as it is described."""
    async with comptroller_up(folder, admin=True) as running:
        _, of_a_run, frozen, _, of_an_activity, stopped = await typed(TEXT, running, folder)
        view = running.view("acme")
        requests = [json.loads(entry.event) for entry in await view.requests()]
    assert json.loads(of_a_run)["usage"]["cost"] > 0
    assert [each["scope"] for each in requests] == ["acme/jobs/run-42/write"]
    assert re.findall(r"^acme/jobs/run-42\t.*\t(\w+)$", frozen, re.MULTILINE) == ["frozen", "open"]
    budget, end = _first(of_an_activity)
    run, key = budget["scopes"][-2:]
    assert re.fullmatch(r"acme/jobs/key-\w+/run-42", run["scope"])
    assert [run["limits"][0]["limit"], key["limits"][0]["limit"]] == ["0.50", "0.10"]
    revoked, _ = _first(of_an_activity.strip()[end:])
    assert revoked["status"] == "revoked"
    head, _, body = stopped.replace("\r", "").partition("\n\n")
    assert re.search(r"^HTTP/1.1 402 ", head, re.MULTILINE)
    assert re.search(r"^x-should-retry: false$", head, re.MULTILINE)
    error = json.loads(body)["error"]
    assert error["code"] == "budget_exceeded"
    assert "budget of acme/jobs/run-43 " in error["message"]


def test_the_snippets_ran_with_what_is_pinned() -> None:
    """The versions that are named are those that tests/clients/test_recipes.py runs."""
    of_python = (PINS / "requirements.txt").read_text(encoding="utf-8").split()
    of_node = json.loads((PINS / "package.json").read_text(encoding="utf-8"))["dependencies"]
    pins = [*(tuple(each.split("==")) for each in of_python), *of_node.items()]
    ran = " ".join(TEXT.split("\n## What ran\n", 1)[1].split())
    for name, version in pins:
        if name != "@inngest/test":  # it runs nothing for users
            assert f"{name} {version}" in ran


@pytest.mark.parametrize("library", [openai, anthropic])
async def test_what_is_final_is_seen_in_errors_of_both_libraries(library: Any) -> None:
    """By the header, of a stopped budget and of a key that has ended; what passes is not."""
    namespace: dict[str, Any] = {}
    (snippet,) = re.findall(r"```python\n(import openai\n.*?)```", TEXT, re.DOTALL)
    exec(snippet.replace("openai", library.__name__), namespace)
    request = httpx.Request("POST", "http://127.0.0.1/v1")
    for headers, is_final in (({"x-should-retry": "false"}, True), ({"retry-after": "3"}, False)):
        response = httpx.Response(402, headers=headers, request=request)
        error = library.APIStatusError("no", response=response, body=None)
        assert namespace["is_final"](error) == is_final
    assert not namespace["is_final"](ValueError())


def _first(text: str) -> tuple[dict[str, Any], int]:
    """The first document of a text, and where it ends."""
    found: tuple[dict[str, Any], int] = json.JSONDecoder().raw_decode(text.strip())
    return found
