"""A document is a workflow or DefinitionInvalid, whose every problem has a place in the document
and words of the document: whatever stands in whichever place of it, and quickly."""

import copy
import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from orchestrator.checks import problems_of
from orchestrator.definition import Workflow, read_definition
from orchestrator.forecast import forecast
from orchestrator.plain import DEPTH_MAX, VALUES_MAX
from orchestrator.problems import PROBLEMS_MAX, DefinitionInvalid
from tests.orchestrator.written import of_steps, read, refused, step

WHOLE: dict[str, Any] = {
    "name": "whole-1_x",
    "version": 3,
    "description": "Everything that there is",
    "budget": [{"usd": "2.00"}, {"tokens": 400, "window": "day", "models": ["a*"]}],
    "on_exhausted": "ask",
    "defaults": {"model": "m", "agent": "x", "retries": {"most": 1, "backoff": "5s"}},
    "input": {"topic": {"type": "string", "default": "x", "required": False, "description": "d"}},
    "concurrency": 4,
    "output": "{{ steps.ask.output }}",
    "steps": [
        {
            "id": "ask",
            "prompt": {
                "text": "{{ input.topic }}",
                "system": "s",
                "model": "m",
                "max_tokens": 5,
                "temperature": 0.5,
                "output": "json",
            },
            "retries": 2,
            "timeout": "10m",
            "budget": [{"usd": 1}],
            "guaranteed": True,
            "models": ["m"],
            "agent": "a",
            "on_failure": "skip",
        },
        {
            "id": "each",
            "needs": ["ask"],
            "command": {"argv": ["x", "{{ item }}"], "env": {"A_1": "{{ index }}"}},
            "foreach": {"items": ["a", 1, {"b": [None]}], "concurrency": 2},
        },
        {
            "id": "again",
            "when": "{{ run.id }}",
            "python": {"function": "a.b:c", "arguments": {"x": [1, "{{ last }}"]}},
            "until": {"condition": "{{ last }}", "most": 3},
        },
        {
            "id": "call",
            "http": {
                "url": "https://x/{{ input.topic }}",
                "method": "PUT",
                "headers": {"a": "b"},
                "body": {"a": [1, None, "x"]},
                "callback": True,
            },
        },
        {"id": "person", "approval": {"message": "Go on?", "timeout": "24h"}},
        {"id": "inner", "workflow": {"name": "other", "input": {"a": 1}}},
        {"id": "pause", "sleep": {"duration": "30d"}},
    ],
}

JSON = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.sampled_from([10**40, -(10**4000), 2**63, 1e308, float("nan"), float("inf")]),
        st.floats(),
        st.text(st.characters()),  # surrogates, too
        st.sampled_from(["{{ steps.ask.output }}", "{{ x", "10m", "prompt", "\ud800", "a"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(), st.sampled_from(["kind", "action", "usd", "items", "id"])),
            inner,
            max_size=3,
        ),
    ),
    max_leaves=6,
)


def places_in(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All of them, the whole first."""
    yield place
    named = value.items() if isinstance(value, dict) else ()
    for name, each in named or (enumerate(value) if isinstance(value, list) else ()):
        yield from places_in(each, (*place, name))


def replaced(document: Any, place: tuple[Any, ...], value: Any) -> Any:
    """A copy with that value there."""
    if not place:
        return value
    changed = copy.deepcopy(document)
    around = changed
    for each in place[:-1]:
        around = around[each]
    around[place[-1]] = value
    return changed


PLACES = list(places_in(WHOLE))


def judged(document: object) -> None:
    """Read, checked and foreseen as far as it goes; anything but DefinitionInvalid is raised."""
    try:
        workflow = read_definition(document)
    except DefinitionInvalid as error:
        problems = error.problems
        assert problems
    else:
        problems = problems_of(workflow, {"m"})
        forecast(workflow, lambda _model, _cap: 1)
    assert len(problems) <= PROBLEMS_MAX
    for problem in problems:
        assert problem.message.encode()
        json.dumps(problem.place)


@given(st.sampled_from(PLACES), JSON)
@settings(max_examples=200)
@example((), None)
@example(("steps", 1, "foreach", "items"), ["\ud800"])
@example(("steps", 3, "http", "body"), float("nan"))
def test_any_value_in_any_place_is_read_or_refused(place: tuple[Any, ...], value: Any) -> None:
    """In place of what was there."""
    judged(replaced(WHOLE, place, value))


@given(
    st.sampled_from([each for each in PLACES if isinstance(each[-1] if each else 0, str)]),
    st.text(),
    JSON,
)
@settings(max_examples=100)
@example(("version",), "action", 1)
@example(("steps", 0, "id"), "action", {"kind": "prompt"})
@example(("steps", 1, "command", "env", "A_1"), "action", 1)
def test_any_field_anywhere_is_read_or_refused(
    place: tuple[Any, ...], name: str, value: Any
) -> None:
    """Beside what was there."""
    judged(replaced(WHOLE, (*place[:-1], name), value))


def test_everything_is_read() -> None:
    """Every field of the format, and nothing is wrong with it."""
    workflow = read_definition(WHOLE)
    assert problems_of(workflow, {"m"}) == ()
    assert {each.action.kind for each in workflow.steps} == {
        *("prompt", "command", "python", "http", "approval", "workflow", "sleep")
    }
    assert [each.amount for each in workflow.budget] == [2 * 10**9, 400]
    assert (workflow.steps[0].timeout, workflow.steps[6].action.model_dump()["duration"]) == (
        600,
        30 * 86_400,
    )
    assert workflow.defaults.retries.backoff == 5


def test_what_is_left_out_is_as_the_documents_say() -> None:
    """The defaults of a workflow, of a step, and of a prompt."""
    workflow = read_definition({"name": "w", "budget": [{"usd": "1"}], "steps": [step()]})
    assert (workflow.version, workflow.on_exhausted, workflow.concurrency) == (1, "halt", 32)
    assert (workflow.defaults.retries.most, workflow.defaults.timeout) == (2, 3_600)
    only = workflow.steps[0]
    assert (only.when, only.budget, only.guaranteed, only.on_failure) == (True, (), False, "fail")
    assert (only.needs, only.models, only.foreach, only.until) == ((), (), None, None)


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"prompt": "x"}, {"prompt": {"text": "x"}}),
        ({"command": ["x", "y"]}, {"command": {"argv": ["x", "y"]}}),
        ({"python": "a:b"}, {"python": {"function": "a:b"}}),
        ({"http": "http://x"}, {"http": {"url": "http://x", "method": "POST"}}),
        ({"approval": "x"}, {"approval": {"message": "x"}}),
        ({"workflow": "x"}, {"workflow": {"name": "x", "input": {}}}),
        ({"sleep": "1s"}, {"sleep": {"duration": "1s"}}),
        ({"foreach": "{{ input }}"}, {"foreach": {"items": "{{ input }}", "concurrency": 16}}),
        ({"foreach": [1, 2]}, {"foreach": {"items": [1, 2]}}),
        ({"until": "x"}, {"until": {"condition": "x", "most": 10}}),
        ({"retries": 3}, {"retries": {"most": 3, "backoff": "1s"}}),
    ],
)
def test_a_short_form_is_the_long_one(short: dict[str, Any], long: dict[str, Any]) -> None:
    """Of each kind, and of each part of a step."""
    assert read(step(**short)) == read(step(**long))


def test_a_document_may_hold_other_values_of_python() -> None:
    """Tuples are lists; what JSON has not is refused, in its place."""
    assert read_definition({**WHOLE, "steps": tuple(WHOLE["steps"])}) == read_definition(WHOLE)
    for value in (b"x", {1}, Decimal(1), object()):
        (problem,) = refused(replaced(WHOLE, ("steps", 3, "http", "body"), value))
        assert problem.place == ("steps", 3, "http", "body")
        assert "is a text, a number" in problem.message


@pytest.mark.parametrize(
    ("changed", "value", "place", "words"),
    [
        ((), [], (), "expected a mapping"),
        (("naem",), "x", ("naem",), "unknown field naem: did you mean name?"),
        (("action",), "x", ("action",), "unknown field action"),
        (("name",), "Ab", ("name",), "name has 1 to 48 of a-z, 0-9, _ and -"),
        (("name",), "a" * 49, ("name",), "name has 1 to 48"),
        (("version",), 0, ("version",), "version: .*greater than or equal to 1"),
        (("version",), True, ("version",), "version: expected a whole number"),
        (("budget",), [], ("budget",), "budget has at least 1"),
        (("budget",), {"usd": "1"}, ("budget",), "a budget is a list of limits"),
        (("budget", 0), {"uds": "1"}, ("budget",), "a limit names one of usd, tokens"),
        (("on_exhausted",), "stop", ("on_exhausted",), "'halt' or 'ask'"),
        (("concurrency",), 1001, ("concurrency",), "less than or equal to 1000"),
        (("defaults", "modell"), "m", ("defaults", "modell"), "did you mean model?"),
        (("input", "topic", "type"), "text", ("input", "topic", "type"), "'string', 'integer'"),
        (("input", "A b"), {"type": "string"}, ("input", "A b"), "A b begins with a-z"),
        (("input", "action"), {"type": "x"}, ("input", "action", "type"), "'string', 'integer'"),
        (("input", "topic", "defalt"), 1, ("input", "topic", "defalt"), "did you mean default?"),
        (("steps",), [], ("steps",), "steps has at least 1"),
        (("steps",), {}, ("steps",), "steps: expected a list"),
        (("steps", 0), None, ("steps", 0), "entry 1: expected a mapping"),
        (("steps", 0, "id"), "A", ("steps", 0, "id"), "id begins with a-z"),
        (("steps", 0, "neds"), [], ("steps", 0, "neds"), "unknown field neds: did you mean needs?"),
        (("steps", 0, "sleep"), "1s", ("steps", 0), "does one thing.* not prompt and sleep"),
        (("steps", 0, "prompt"), {}, ("steps", 0, "prompt"), "text is missing"),
        (("steps", 0, "prompt", "kind"), "http", ("steps", 0), "unknown field kind in prompt"),
        (("steps", 0, "prompt", "sistem"), "", ("steps", 0, "prompt", "sistem"), "mean system?"),
        (("steps", 0, "prompt", "text"), "", ("steps", 0, "prompt", "text"), "may not be empty"),
        (("steps", 0, "prompt", "max_tokens"), "5", None, "expected a whole number"),
        (("steps", 0, "prompt", "temperature"), 3, None, "less than or equal to 2"),
        (("steps", 0, "prompt", "temperature"), "1", None, "expected a number"),
        (("steps", 0, "guaranteed"), "yes", None, "expected true or false"),
        (("steps", 0, "needs"), "ask", None, "needs: expected a list"),
        (("steps", 0, "needs"), ["a"] * 101, None, "needs has at most 100"),
        (("steps", 0, "when"), 1, None, "a template, or true or false"),
        (("steps", 0, "retries"), 21, ("steps", 0, "retries", "most"), "less than or equal to 20"),
        (("steps", 0, "retries"), {"mots": 1}, ("steps", 0, "retries"), "most is missing"),
        (("steps", 0, "timeout"), 90, None, "whole number with s, m, h or d, as in 10m"),
        (("steps", 0, "on_failure"), "ignore", None, "'fail' or 'skip'"),
        (("steps", 1, "foreach"), 3, ("steps", 1, "foreach", "items"), "a list, or a template"),
        (("steps", 1, "command", "argv"), [], None, "argv has at least 1"),
        (("steps", 1, "command", "argv"), "ls -l", None, "argv: expected a list"),
        (("steps", 1, "command", "env", "action"), 1, None, "action: expected a text"),
        (("steps", 1, "command", "env", "A-1"), "x", None, "A-1 has letters, digits and _"),
        (("steps", 2, "python", "function"), "a.b", None, "function is a module and a function"),
        (("steps", 2, "until", "most"), 0, None, "greater than or equal to 1"),
        (("steps", 3, "http", "url"), "ftp://x", None, "url is the address of a server"),
        (("steps", 4, "approval"), "", ("steps", 4, "approval", "message"), "may not be empty"),
        (("steps", 6, "sleep", "duration"), "367d", None, "at most 366d"),
    ],
)
def test_a_problem_has_its_place_and_says_what_to_write(
    changed: tuple[Any, ...], value: Any, place: tuple[Any, ...] | None, words: str
) -> None:
    """The first, and for one mistake in a step no other."""
    problems = refused(replaced(WHOLE, changed, value))
    assert problems, "accepted"
    assert problems[0].place == (changed if place is None else place)
    assert_words(words, problems[0].message)
    known = {"retries"}  # a wrong field is also one that is missing
    assert len(problems) == (2 if known & {*changed} and isinstance(value, dict) else 1)


def assert_words(words: str, message: str) -> None:
    """Parts of it, in this order."""
    at = 0
    for part in words.split(".*"):
        at = message.find(part, at)
        assert at >= 0, f"{part!r} is not in {message!r}"


@pytest.mark.parametrize(
    ("field", "words"),
    [("name", "name"), ("budget", "no run goes without one"), ("steps", "steps")],
)
def test_what_has_to_be_there_is_missed(field: str, words: str) -> None:
    """At the mapping that lacks it."""
    (problem,) = refused({name: each for name, each in WHOLE.items() if name != field})
    assert problem.place == ()
    assert_words(f"{field} is missing", problem.message)
    assert words in problem.message


def test_a_mistyped_kind_is_told_the_nearest() -> None:
    """It is no unknown field only: without it the step does nothing."""
    (problem,) = refused(of_steps({"id": "a", "promt": "x"}))
    assert problem.place == ("steps", 0)
    assert_words("write one of prompt, command.*promt: did you mean prompt?", problem.message)


def test_all_that_is_wrong_is_said_at_once() -> None:
    """Of several steps."""
    problems = refused(of_steps(step(sleep="x"), step("b", on_failure="x"), {"sleep": "1s"}))
    assert [each.place[:2] for each in problems] == [("steps", 0), ("steps", 1), ("steps", 2)]


@pytest.mark.parametrize(
    "place",
    [
        *(("name",), ("budget",), ("budget", 0, "usd"), ("input", "topic", "default"), ("steps",)),
        *(("steps", 0, "prompt"), ("steps", 1, "foreach", "items"), ("steps", 3, "http", "body")),
    ],
)
def test_nothing_may_be_nested_without_end(place: tuple[Any, ...]) -> None:
    """Deeper than any stack, also where any value may stand."""
    deep: list[Any] = []
    for _ in range(10_000):
        deep = [deep]
    document = replaced(WHOLE, place, None)
    around = document
    for each in place[:-1]:
        around = around[each]
    around[place[-1]] = deep  # too deep to be copied
    (problem,) = refused(document)
    assert f"nested deeper than {DEPTH_MAX} levels" in problem.message


@pytest.mark.parametrize("place", [each for each in PLACES if each])
def test_no_number_is_too_long_for_a_message(place: tuple[Any, ...]) -> None:
    """Python prints no number of more than 4,300 digits."""
    (problem,) = refused(replaced(WHOLE, place, 10**5_000))
    assert (problem.place, problem.message) == (place, "a number has too many digits")


def test_a_value_that_holds_itself_is_refused() -> None:
    """Python has such; also the kind that doubles with each level."""
    loop: list[Any] = []
    loop += [loop]
    twice: list[Any] = []
    for _ in range(50):
        twice = [twice, twice]
    for body, words in ((loop, "nested deeper"), (twice, f"at most {VALUES_MAX} values")):
        (problem,) = refused(of_steps(step(http={"url": "http://x", "body": body})))
        assert words in problem.message


@pytest.mark.timeout(20)
def test_a_large_document_is_refused_in_a_moment() -> None:
    """10,000 unknown fields, a name of a megabyte: some are told, and none is repeated whole."""
    problems = refused({**WHOLE, **{f"naem{n}": n for n in range(10_000)}})
    assert len(problems) == PROBLEMS_MAX
    (problem,) = refused({**WHOLE, "x" * 10**6: 1})
    assert len(problem.message) < 1_000
    assert isinstance(read_definition(WHOLE), Workflow)
