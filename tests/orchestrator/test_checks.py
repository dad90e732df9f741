"""What is wrong with a workflow of the right form is found before it runs: each mistake is told
once, where it stands, with the name that was meant; and what is right is told nothing."""

from typing import Any

import pytest

from orchestrator.checks import problems_of
from orchestrator.problems import PROBLEMS_MAX
from tests.orchestrator.written import complaints, read, step


@pytest.mark.parametrize(
    ("steps", "place", "words"),
    [
        ([step(), step("b"), step()], ("steps", 2, "id"), "a is step 1 already"),
        (
            [step("plan"), step("b", "plna")],
            ("steps", 1, "needs", 0),
            "b needs plna, which is no step: did you mean plan?",
        ),
        ([step("b", "zzzz")], ("steps", 0, "needs", 0), "which is no step: there is b"),
        ([step(), step("b", "a", "a")], ("steps", 1, "needs", 1), "b needs a twice"),
        ([step("a", "a")], ("steps", 0, "needs"), "a -> a;"),
        ([step("a", "b"), step("b", "a")], ("steps", 0, "needs"), "a -> b -> a;"),
        (
            [step("c", "a"), step("b", "c"), step("a", "b")],
            ("steps", 0, "needs"),
            "where each waits for the next: a -> b -> c -> a;",
        ),
        ([step(when=False)], ("steps", 0, "when"), "a never runs"),
    ],
)
def test_the_graph(steps: list[dict[str, Any]], place: tuple[Any, ...], words: str) -> None:
    """Names that are there twice or not at all, and steps that wait for themselves."""
    (problem,) = complaints(*steps)
    assert problem.place == place
    assert words in problem.message


def test_every_knot_is_told() -> None:
    """And nothing of templates, whose steps have no order yet."""
    steps = [step("a", "b"), step("b", "a"), step("c", "d"), step("d", "c", when="{{ steps.a }}")]
    assert [each.place for each in complaints(*steps)] == [
        ("steps", 0, "needs"),
        ("steps", 2, "needs"),
    ]


def test_what_is_below_a_step_that_never_runs_is_never_reached() -> None:
    """However far below."""
    found = complaints(step(when=False), step("b", "a"), step("c", "b"), step("d"))
    assert [(each.place, each.message) for each in found] == [
        (("steps", 0, "when"), "a never runs: remove it, or its when"),
        (("steps", 1, "needs"), "b is never reached: a never runs"),
        (("steps", 2, "needs"), "c is never reached: a never runs"),
    ]


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"prompt": "{{ input.tpoic }}"}, ("prompt", "text"), "did you mean topic?"),
        ({"prompt": {"text": "x", "system": "{{ x }}"}}, ("prompt", "system"), "names x"),
        ({"prompt": "{{ stpes.a }}"}, ("prompt", "text"), "did you mean steps?"),
        ({"prompt": "{{ steps.aa.output }}"}, ("prompt", "text"), "aa, which is no step"),
        ({"prompt": "{{ steps.c.output }}"}, ("prompt", "text"), "c, which may not have run yet"),
        ({"prompt": "{{ steps.b.output }}"}, ("prompt", "text"), "b, which may not have run yet"),
        ({"prompt": "{{ steps[input.topic] }}"}, ("prompt", "text"), "without saying which"),
        ({"prompt": "{{ item }}"}, ("prompt", "text"), "names item"),
        ({"prompt": "{{ last }}"}, ("prompt", "text"), "names last"),
        ({"prompt": "{{ a|uper }}"}, ("prompt", "text"), "No filter named"),
        ({"when": "{{ item }}", "foreach": [1]}, ("when",), "names item"),
        ({"foreach": "{{ item }}"}, ("foreach", "items"), "names item"),
        ({"foreach": ["x", {"a": "{{ y }}"}]}, ("foreach", "items", 1, "a"), "names y"),
        ({"until": "{{ item }}"}, ("until", "condition"), "names item"),
        ({"command": ["x", "{{ y }}"]}, ("command", "argv", 1), "names y"),
        (
            {"command": {"argv": ["x"], "env": {"A": "{{ y }}"}}},
            ("command", "env", "A"),
            "names y",
        ),
        (
            {"python": {"function": "a:b", "arguments": {"x": [["{{ y }}"]]}}},
            ("python", "arguments", "x", 0, 0),
            "names y",
        ),
        ({"http": "http://x/{{ y }}"}, ("http", "url"), "names y"),
        (
            {"http": {"url": "http://x", "headers": {"a": "{{ y }}"}}},
            ("http", "headers", "a"),
            "names y",
        ),
        ({"http": {"url": "http://x", "body": {"a": "{{ y }}"}}}, ("http", "body", "a"), "names y"),
        ({"approval": "{{ y }}"}, ("approval", "message"), "names y"),
        (
            {"workflow": {"name": "x", "input": {"a": "{{ y }}"}}},
            ("workflow", "input", "a"),
            "names y",
        ),
    ],
)
def test_a_template_names_only_what_has_run(
    fields: dict[str, Any], place: tuple[Any, ...], words: str
) -> None:
    """In every text that is one."""
    steps = [step(), step("b", "a", **fields), step("c", "b")]
    (problem,) = complaints(*steps, input={"topic": {"type": "string"}})
    assert problem.place == ("steps", 1, *place)
    assert words in problem.message


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "{{ input.topic }} {{ steps.a.output }} {{ steps['b'].output }} {{ run.id }}"},
        {"prompt": "{{ item }} {{ index }}", "foreach": "{{ steps.a.output }}"},
        {"prompt": "{{ last }}", "until": "{{ last == 'done' }}"},
        {"prompt": "{{ item }} {{ last }}", "foreach": [1], "until": "{{ index > 1 or last }}"},
        {"prompt": {"text": "x", "model": "{{ no template }}"}},
        {"python": "a:b", "when": "{{ steps.a.output and not steps.b.failed }}"},
        {"workflow": "{{ no template"},
        {"when": True},
    ],
)
def test_what_has_run_may_be_named(fields: dict[str, Any]) -> None:
    """Through any number of needs; the entry in `foreach`, the round before in `until`."""
    steps = [step(), step("b", "a"), step("c", "b", **fields)]
    assert complaints(*steps, input={"topic": {"type": "string"}}) == []


def test_the_output_may_name_every_step() -> None:
    """And no other, nor an entry."""
    assert complaints(step(), step("b"), output="{{ steps.a.output }}{{ steps.b.output }}") == []
    (problem,) = complaints(step(), output="{{ steps.b.output }}")
    assert (problem.place, problem.message[:24]) == (("output",), "a template names b, whic")
    (problem,) = complaints(step(foreach=[1]), output="{{ item }}")
    assert problem.place == ("output",)


@pytest.mark.parametrize(
    ("fields", "place", "words"),
    [
        ({"budget": [{"usd": "1.01"}]}, ("budget", 0), "a may spend 1.01 usd and its run 1.00 usd"),
        (
            {"budget": [{"usd": "1"}, {"tokens": 11, "window": "day"}]},
            ("budget", 1),
            "a may spend 11 tokens and its run 10 tokens",
        ),
        ({"guaranteed": True}, ("guaranteed",), "a has no budget that could be guaranteed"),
    ],
)
def test_no_step_may_spend_more_than_its_run(
    fields: dict[str, Any], place: tuple[Any, ...], words: str
) -> None:
    """In the same dimension, window and models."""
    run = [{"usd": "1"}, {"tokens": 10, "window": "day"}]
    (problem,) = complaints(step(**fields), budget=run)
    assert problem.place == ("steps", 0, *place)
    assert words in problem.message


@pytest.mark.parametrize(
    "limit",
    [
        {"usd": "1"},
        {"usd": "5", "window": "day"},
        {"usd": "5", "models": ["m"]},
        {"tokens": 10**6},
    ],
)
def test_another_limit_is_not_compared(limit: dict[str, Any]) -> None:
    """Another window, other models, another dimension; and the same amount is not more."""
    assert complaints(step(budget=[limit])) == []


def test_no_more_is_guaranteed_than_there_is() -> None:
    """In all; what is not guaranteed does not count."""
    half: dict[str, Any] = {"budget": [{"usd": "0.50"}], "guaranteed": True}
    assert complaints(step(**half), step("b", **half), step("c", budget=[{"usd": "1"}])) == []
    (problem,) = complaints(step(**half), step("b", **half), step("c", **half))
    assert problem.place == ("budget",)
    assert problem.message == "1.50 usd are guaranteed to steps, and the run has 1.00 usd"


def test_no_more_tokens_are_guaranteed_than_there_are() -> None:
    """Each dimension by itself; what comes again with its window, or is for some models, is not
    moved."""
    some: dict[str, Any] = {"budget": [{"tokens": 900}, {"usd": "0.40"}], "guaranteed": True}
    run = [{"usd": "1"}, {"tokens": 1_000}]
    (problem,) = complaints(step(**some), step("b", **some), budget=run)
    assert problem.place == ("budget",)
    assert problem.message == "1800 tokens are guaranteed to steps, and the run has 1000 tokens"
    assert complaints(step(**some), step("b", **some), budget=[{"usd": "1"}]) == []
    for more in ({"window": "hour"}, {"models": ["m"]}):
        other: dict[str, Any] = {"budget": [{"tokens": 900, **more}], "guaranteed": True}
        assert complaints(step(**other), step("b", **other), budget=run) == []


@pytest.mark.parametrize(
    ("fields", "default", "place", "words"),
    [
        ({"prompt": "x"}, "smal", ("defaults", "model"), "smal is no model that may be asked: did"),
        (
            {"prompt": {"text": "x", "model": "larg"}},
            "small",
            ("steps", 0, "prompt", "model"),
            "did you mean large?",
        ),
        ({"models": ["small", "x"]}, "small", ("steps", 0, "models", 1), "x is no model"),
        ({"prompt": "x"}, None, ("steps", 0, "prompt"), "a names no model"),
        (
            {"prompt": "x", "models": ["large"]},
            "small",
            ("steps", 0, "models"),
            "a asks small, which is none of its models",
        ),
        (
            {"prompt": {"text": "x", "model": "small"}, "models": ["large"]},
            "large",
            ("steps", 0, "models"),
            "a asks small, which is none of its models",
        ),
    ],
)
def test_models(
    fields: dict[str, Any], default: str | None, place: tuple[Any, ...], words: str
) -> None:
    """Only those that may be asked, and a prompt asks one of its step's."""
    defaults = {} if default is None else {"model": default}
    (problem,) = problems_of(read(step(**fields), defaults=defaults), {"small", "large"})
    assert problem.place == place
    assert words in problem.message


def test_a_pattern_stands_for_the_models_that_it_matches() -> None:
    """As in a key: one of those that may be asked at least, and the step's own among them."""
    known = {"openai/small", "openai/large", "demo/small"}

    def said(*models: str) -> list[str]:
        asks = step(prompt={"text": "x", "model": "openai/small"}, models=list(models))
        return [each.message for each in problems_of(read(asks, defaults={}), known)]

    assert said("openai/*") == said("demo/small", "*/small") == []
    assert said("demo/*") == ["a asks openai/small, which is none of its models"]
    (unknown,) = said("openai/*", "opneai/*")
    assert unknown.startswith("opneai/* is no model that may be asked")


@pytest.mark.parametrize(
    ("kind", "fitting", "other"),
    [
        ("string", ["", "1"], [1, True, []]),
        ("integer", [0, -1], [1.5, "1", True]),
        ("number", [0, 1.5], ["1", True]),
        ("boolean", [True, False], [0, "true"]),
        ("array", [[], [1]], [{}, "x"]),
        ("object", [{}, {"a": 1}], [[], "x"]),
    ],
)
def test_a_default_is_of_its_type(kind: str, fitting: list[Any], other: list[Any]) -> None:
    """In JSON's sense: true is no number."""
    for value in [*fitting, None]:
        assert complaints(step(), input={"a": {"type": kind, "default": value}}) == []
    for value in other:
        (problem,) = complaints(step(), input={"a": {"type": kind, "default": value}})
        assert problem.place == ("input", "a", "default")
        assert problem.message == f"the default of a is no {kind}"


def test_models_that_nobody_knows_are_not_asked_for() -> None:
    """Where there is no configuration; with one, all that are named are there."""
    workflow = read(step(prompt={"text": "x", "model": "a"}, models=["a"]))
    assert problems_of(workflow, None) == ()
    assert problems_of(workflow, ["a", "m"]) == ()
    assert len(problems_of(workflow, [])) == 3


def test_all_that_is_wrong_is_told_by_step() -> None:
    """Of every check at once."""
    found = complaints(
        step("a", guaranteed=True),
        step("b", "a", prompt="{{ x }}", budget=[{"usd": "2"}]),
        step("c", when="{{ y }}"),
    )
    assert [each.place[1] for each in found] == [0, 1, 1, 2]


@pytest.mark.timeout(20)
def test_the_largest_workflow_is_checked_in_a_moment() -> None:
    """1,000 steps that need the hundred before them, and each has a template."""
    steps = [
        step(
            f"s{n}",
            *(f"s{k}" for k in range(max(0, n - 100), n)),
            prompt="{{ steps.s0.output }}" if n else "x",
        )
        for n in range(1_000)
    ]
    assert complaints(*steps) == []


@pytest.mark.timeout(20)
def test_a_hundred_thousand_wrong_needs_are_some_problems() -> None:
    """The nearest of 1,000 names is looked for a bounded number of times."""
    steps = [step(f"s{n}", *(f"t{n}x{k}" for k in range(100))) for n in range(1_000)]
    assert len(complaints(*steps)) == PROBLEMS_MAX
