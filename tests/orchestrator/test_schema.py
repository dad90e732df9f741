"""The JSON Schema accepts exactly the forms that are read: an editor that follows it never
contradicts `comptroller run check` about a form."""

from typing import Any

import jsonschema
import pytest

from orchestrator.kinds import KINDS
from orchestrator.schema import json_schema
from tests.orchestrator.test_definition import WHOLE, replaced
from tests.orchestrator.written import of_steps, refused, step

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

WAYS: list[tuple[tuple[Any, ...], list[Any]]] = [
    ((), [WHOLE, {}, [], None, "x"]),
    (("name",), ["a", "a-b_1", "", "A", "a" * 48, "a" * 49, 1, None]),
    (("version",), [1, 10**9, 0, True, "1", 10**9 + 1]),
    (("description",), ["", "x", None, 1]),
    (("budget",), [[], [{"usd": 1}], {}, None, "1", [{"usd": "1"}] * 17, ["x"]]),
    (("budget", 0), [{}, {"usd": "0.10"}, {"usd": 0.5}, {"usd": -1}, {"usd": "x"}, {"usd": None}]),
    (("budget", 0), [{"usd": 1, "tokens": 1}, {"usd": 1, "x": 1}, {"usd": 1, "window": "month"}]),
    (("budget", 0), [{"tokens": 1}, {"tokens": "1"}, {"tokens": -1}, {"requests": 10**17}]),
    (("budget", 0), [{"usd": 1, "window": "year"}, {"usd": 1, "models": "x"}, {"concurrency": 2}]),
    (("on_exhausted",), ["halt", "ask", "x", None]),
    (("defaults",), [{}, {"model": None}, {"retries": 20}, {"retries": 21}, {"x": 1}, None]),
    (("input",), [{}, {"A": {"type": "string"}}, {"a": {"type": "string"}}, {"a": "string"}, []]),
    (("input", "topic"), [{}, {"type": "x"}, {"type": "array"}, {"type": "array", "x": 1}]),
    (("input", "topic", "required"), [True, 1, "yes", None]),
    (("concurrency",), [1, 1000, 0, 1001, "1"]),
    (("runs_at_once",), [1, 1000, 0, 1001, "1"]),
    (("output",), ["", "x", None]),
    (("steps",), [[], {}, None, [{}]]),
    (("steps", 0, "id"), ["a", "a_1", "1a", "a-b", "", None]),
    (("steps", 0, "needs"), [[], ["a"], "a", [1], ["a"] * 101]),
    (("steps", 0, "when"), [True, "x", 1, None, []]),
    (("steps", 0, "foreach"), ["x", [], [1, {}], {"items": []}, {}, 1, None, {"items": 1}]),
    (("steps", 0, "foreach"), [{"items": [], "concurrency": 0}, {"items": "x", "x": 1}]),
    (("steps", 0, "until"), ["x", "", {"condition": "x", "most": 1000}, {"most": 1}, None, 1]),
    (("steps", 0, "retries"), [0, 20, 21, -1, "1", True, {"most": 1}, {}, {"backoff": "1s"}, None]),
    (("steps", 0, "timeout"), ["1s", "366d", "0s", 1, "1w", None]),
    (("steps", 0, "guaranteed"), [True, False, 1, "true", None]),
    (("steps", 0, "models"), [[], ["a"], "a", [1], ["a"] * 101]),
    (("steps", 0, "agent"), ["x", None, 1]),
    (("steps", 0, "on_failure"), ["fail", "skip", "x", None]),
    (("steps", 0, "x"), [1]),
    (("steps", 0, "action"), [{"kind": "prompt", "text": "x"}]),
    (
        ("steps", 0, "prompt"),
        ["x", "", {"text": "x"}, {}, [], None, {"text": "x", "kind": "prompt"}],
    ),
    (("steps", 0, "prompt", "model"), ["x", None, 1]),
    (("steps", 0, "prompt", "max_tokens"), [1, 0, "1", True, None, 10**7 + 1]),
    (("steps", 0, "prompt", "temperature"), [0, 2, 0.5, 3, "1", True, None]),
    (("steps", 0, "prompt", "output"), ["text", "json", "x", None]),
    (("steps", 1, "command"), [["x"], [], "x", {"argv": ["x"]}, {"env": {}}, [1], ["x"] * 257]),
    (("steps", 1, "command", "env"), [{}, {"A": "x"}, {"A": 1}, {"1": "x"}, {"A-B": "x"}, None]),
    (
        ("steps", 2, "python"),
        ["a:b", "a.b:c", "a", "a:b.c", {"function": "a:b"}, {"arguments": {}}],
    ),
    (("steps", 2, "python", "arguments"), [{}, {"": None}, [], None]),
    (("steps", 3, "http"), ["http://x", "https://x", "ftp://x", "x", {"url": "http://x"}, {}]),
    (("steps", 3, "http", "method"), ["GET", "get", None]),
    (("steps", 3, "http", "headers"), [{}, {"a": "b"}, {"a": 1}, []]),
    (("steps", 3, "http", "body"), [None, 1, "x", [{}]]),
    (("steps", 3, "http", "callback"), [True, 1, "yes"]),
    (("steps", 4, "approval"), ["x", "", {"message": "x", "timeout": None}, {"timeout": "1s"}]),
    (("steps", 5, "workflow"), ["x", "", {"name": "x", "input": {"a": None}}, {"input": {}}]),
    (("steps", 6, "sleep"), ["1s", "x", 1, {"duration": "1s"}, {}, None]),
    (("steps", 6, "prompt"), ["x"]),
]


def test_it_is_a_schema() -> None:
    """Of the dialect that it names, with every kind of step."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]
    assert KINDS.keys() <= SCHEMA["$defs"]["Step"]["properties"].keys()
    assert "action" not in SCHEMA["$defs"]["Step"]["properties"]


@pytest.mark.parametrize(
    ("place", "value"), [(place, value) for place, values in WAYS for value in values]
)
def test_the_schema_and_the_reader_agree(place: tuple[Any, ...], value: Any) -> None:
    """On everything in the table, one value in its place."""
    document = replaced(WHOLE, place, value)
    said = [error.message for error in VALIDATOR.iter_errors(document)]
    read = [each.message for each in refused(document)]
    assert bool(said) == bool(read), f"schema: {said}; reader: {read}"


@pytest.mark.parametrize("kind", [*KINDS])
def test_a_kind_alone_is_a_step_and_two_are_none(kind: str) -> None:
    """Each in the short form of another step of the table."""
    (said,) = (each for each in WHOLE["steps"] if kind in each)
    assert VALIDATOR.is_valid(of_steps({"id": "a", kind: said[kind]}))
    other = {"sleep": "1s"} if kind != "sleep" else {"prompt": "x"}
    both = of_steps({"id": "a", kind: said[kind], **other})
    assert not VALIDATOR.is_valid(both)
    assert refused(both)
    assert not VALIDATOR.is_valid(of_steps({"id": "a"}))


def test_defaults_are_forms_too() -> None:
    """An editor writes them into the file."""

    def defaults(part: Any) -> list[tuple[Any, Any]]:
        if isinstance(part, list):
            return [each for one in part for each in defaults(one)]
        if not isinstance(part, dict):
            return []
        fields = part.get("properties", {}).values()
        own = [(each, each["default"]) for each in fields if "default" in each]
        inner = [*fields, *(each for name, each in part.items() if name != "properties")]
        return own + [each for one in inner for each in defaults(one)]

    found = defaults(SCHEMA)
    assert len(found) > 20
    for part, default in found:
        jsonschema.Draft202012Validator({"$defs": SCHEMA["$defs"], **part}).validate(default)
    assert refused(of_steps(step(), defaults={"timeout": "1h", "retries": 2})) == []
