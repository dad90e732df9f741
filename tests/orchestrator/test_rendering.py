"""A template gives what Jinja2's language says, from JSON values alone; what is not there is said
with its whole name; and no template, however hostile, takes more than a moment or any object of
this process."""

import json
import time
from types import MappingProxyType
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestrator.definition import Step
from orchestrator.effort import TEXT_CHARS_MAX
from orchestrator.filters import FILTERS, MAPPING_METHODS, TEXT_METHODS
from orchestrator.kinds import Kind
from orchestrator.rendering import TemplateFailed, render, rendered, truth, value_of

SECTIONS = [{"title": "One", "words": 30}, {"title": "two", "words": 4}]
NAMES: dict[str, Any] = {
    "input": {"topic": "owls", "deep": True, "none": None, "hostile": "{{ input.topic }}"},
    "steps": {
        "plan": {"output": {"sections": SECTIONS, "items": "a field", "n": 3}},
        "empty": {"output": []},
    },
    "run": MappingProxyType({"id": "r1"}),
}
SECONDS_MAX = 3.0
"""Ten times what the work takes on a machine with nothing else to do."""


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("On {{ input.topic }}.", "On owls."),
        ("{{ input.deep }} {{ input.none }}|{{ 1.5 }}", "true |1.5"),
        ("{{ steps.plan.output.sections[1:] }}!", '[{"title": "two", "words": 4}]!'),
        ("{% for s in steps.plan.output.sections %}{{ loop.index }}:{{ s.title }} {% endfor %}",
         "1:One 2:two "),
        ("{% for s in steps.plan.output.sections if s.words > 9 %}{{ s.title }}{% endfor %}",
         "One"),
        ("{% for s in steps.empty.output %}x{% else %}none{% endfor %}", "none"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}={{ v }}{% endfor %}", "a=1"),
        ("{% if input.deep and not input.none %}yes{% elif 1 %}b{% else %}no{% endif %}", "yes"),
        ("{% set n = 2 %}{% if 1 %}{% set n = 3 %}{% endif %}{{ n }}", "3"),
        ("{% set n = 2 %}{% for _ in [1] %}{% set n = 3 %}{% endfor %}{{ n }}", "2"),
        ("{% with n = 2 %}{{ n * 3 }}{% endwith %}", "6"),
        ("{{ steps.plan.output.items }}", "a field"),
        ("{{ run.id ~ '-' ~ 1 }}{{ input['topic'][1:3] }}", "r1-1wl"),
        ("{{ 7 // 2 }} {{ 7 % 4 }} {{ 2 ** 10 }} {{ -3 }} {{ 'ab' * 2 }}", "3 3 1024 -3 abab"),
        ("{{ 'a' in 'cat' }} {{ 1 not in [2] }} {{ 1 < 2 < 2 }}", "true true false"),
        ("{{ 'x' if input.none }}{{ 'y' if input.deep else 'z' }}", "y"),
        ("{{ input.what|default('d') }} {{ input.what.more is defined }}", "d false"),
        ("{{ steps.plan.output.sections|map(attribute='title')|join(', ') }}", "One, two"),
        ("{{ steps.plan.output.sections|sort(attribute='words')|map(attribute='words')|list }}",
         "[4, 30]"),
        ("{{ steps.plan.output.sections|selectattr('words', 'gt', 9)|length }}", "1"),
        ("{{ steps.plan.output.sections|sum(attribute='words') }}", "34"),
        ("{{ ['b', 'a', 'B']|unique|join }} {{ [3, 1]|max }} {{ [3, 1]|reverse|first }}", "ba 3 1"),
        ("{{ '%.2f %s'|format(1.239, 'x') }} {{ 2.567|round(1) }}", "1.24 x 2.6"),
        ("{{ ' A b '|trim|lower|title|upper }} {{ 'a,b'.split(',')|last }}", "A B b"),
        ("{{ 'one two three'|truncate(9, leeway=0) }} {{ 'a b'|urlencode }}", "one... a%20b"),
        ("{{ 'a\nb'|indent(2) }}", "a\n  b"),
        ("{{ '12'|int + '1.5'|float }} {{ 'x'|int(7) }}", "13.5 7"),
        ("{{ [1, 2, 3]|batch(2)|list }} {{ {'a': 1}|tojson }}", '[[1, 2], [3]] {"a": 1}'),
        ("{{ [1, 2, 3]|select('odd')|list }}{{ ['a']|map('upper')|join }}", "[1, 3]A"),
        ("{{ range(3)|join('.') }}{# nothing #}{% raw %}{{ x }}{% endraw %}", "0.1.2{{ x }}"),
        ("no template { at } all\n", "no template { at } all\n"),
    ],
)  # fmt: skip
def test_a_template_gives(template: str, text: str) -> None:
    """Jinja2's text, with lists, truth and nothing as JSON and people write them."""
    assert render(template, NAMES) == text


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ steps.plan.output.sections }}", SECTIONS),
        ("  {{ steps.plan.output.n + 1 }}\n", 4),
        ("{{ input.deep }}", True),
        ("{{ input.none }}", None),
        ("{{ input.topic }}", "owls"),
        ("{{ (1, 'a', {'b': [2]}) }}", [1, "a", {"b": [2]}]),
        ("{{ steps.plan.output.n }} sections", "3 sections"),
        ("{{ 1 }}{{ 2 }}", "12"),
        ("{% if 1 %}{{ 2 }}{% endif %}", "2"),
        ("plain", "plain"),
        ("", ""),
    ],
)
def test_one_expression_alone_gives_its_value(template: str, value: Any) -> None:
    """As it is in JSON; whatever else is around makes it a text."""
    found = value_of(template, NAMES)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ steps.plan.output.sectons }}",
         "steps.plan.output.sectons: no such field: did you mean sections?"),
        ("{{ steps.plan.output.zzz }}", "zzz: no such field: there is sections, items, n"),
        ("{{ steps.plan.output.sections[7].title }}", r"sections\[7\]: no such entry: there are 2"),
        ("{{ input.topic.name }}", "input.topic.name: no such field: it is of a text"),
        ("{{ input.none.name }}", "it is of null"),
        ("{{ inptu.topic }}", "inptu: no such name: did you mean input?"),
        ("{% if input.what %}{% endif %}", "input.what: no such field"),
        ("{{ input.what|upper }}", "input.what: no such field"),
        ("{% for x in 3 %}{% endfor %}", "a number is no list"),
        ("{{ 1 + 'a' }}", "to join texts use ~"),
        ("{{ '%s' % 1 }}", "to fill them in use format"),
        ("{{ 1 / 0 }}", "a division by zero"),
        ("{{ 1 < 'a' }}", "do not compare"),
        ("{{ (-8) ** 0.5 }}", "no number"),
        ("{{ [1e308 * 10] }}", "nan, infinite"),
        ("{% for a, b in [[1]] %}{% endfor %}", "1 values for 2 names"),
        ("{{ {1: 2} }}", "are texts"),
        ("{{ []|first }}", "empty"),
        ("{{ [1]|join(1, 2, 3, 4) }}", "join: "),
        ("{{ 'a'|map('nothing')|list }}", "there is no filter nothing"),
        ("{{ input.topic() }}", "no method topic"),
        ("{{ input.deep.upper() }}", "true or false has no method upper"),
        ("{{ broken", "not a template"),
        ("{{ 1 is evn }}", "No test named 'evn': did you mean even?"),
        ("{{ 1|flaot }}", "No filter named 'flaot': did you mean float?"),
        ("{{ input.topic[0:1, 2:3] }}", "one slice at a time"),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_is_said(template: str, words: str) -> None:
    """With its whole name, and what there is instead."""
    with pytest.raises(TemplateFailed, match=words):
        render(template, NAMES)


def test_what_is_put_in_is_no_template() -> None:
    """A model's answer may look like one, and stays what it is."""
    assert render("{{ input.hostile }}", NAMES) == "{{ input.topic }}"
    assert value_of("{{ input.hostile }}", NAMES) == "{{ input.topic }}"
    assert value_of("{{ [input.hostile] }}", NAMES) == ["{{ input.topic }}"]


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__ }}",
        "{{ input.__class__ }}",
        "{{ input['__class__'] }}",
        "{{ (1).real }}",
        "{{ range.__globals__ }}",
        "{{ input.items }}",
        "{{ 'a'.upper.__self__ }}",
        "{{ loop }}",
        "{{ self }}",
        "{{ input|map(attribute='__class__')|list }}",
        "{{ ['a']|map(attribute='__len__')|list }}",
    ],
)
def test_there_is_no_way_to_an_object(template: str) -> None:
    """A field is an entry of a mapping, whatever Python has at that name."""
    with pytest.raises(TemplateFailed):
        render(template, NAMES)


LAUGHS = "{% set a = ['x'] %}" + "{% set a = [a, a] %}" * 60
LONG = "{% set a = 'x' * 900000 %}"
LOOPS = "{% for a in range(100000) %}"


@pytest.mark.parametrize(
    "template",
    [
        LOOPS * 5 + "{% endfor %}" * 5,
        LOOPS + "{% for b in steps.plan.output.sections %}{{ b }}{% endfor %}{% endfor %}",
        "{% for a in range(100000) if range(100000)|sum %}{% endfor %}",
        "{{ range(10**9)|list }}",
        "{{ range(10**40)|list }}",
        "{{ 'x' * 10**9 }}",
        "{{ [0] * 10**9 }}",
        "{{ 10**10**9 }}",
        "{{ 9**9**9**9 }}",
        "{% set n = 2 %}" + "{% set n = n * n %}" * 60 + "{{ n }}",
        "{{ 10.0**400 }}",
        "{{ 0x" + "f" * 50_000 + " + 1 }}",
        "{{ '%999999999d'|format(1) }}",
        "{{ '%*d'|format(999999999, 1) }}",
        "{{ ('%999d' * 100000)|format(1) }}",
        "{{ 1.5|round(10**9) }}",
        "{{ 'x'|indent(10**9) }}",
        "{{ ('x' * 1000)|replace('x', 'y' * 100000) }}",
        "{{ ('x' * 1000)|replace('', 'y' * 100000) }}",
        "{{ ('x' * 1000)|join('y' * 100000) }}",
        "{{ ('y' * 100000).join('x' * 1000) }}",
        "{{ 'x'|tojson(10**9) }}",
        LAUGHS + "{{ a }}",
        LAUGHS + "{{ a ~ '' }}",
        LAUGHS + "{{ a == a[0] }}",
        LAUGHS + "{{ 'y' in a }}",
        LAUGHS + "{{ a|tojson }}",
        LAUGHS + "{{ a|join }}",
        LAUGHS + "{{ a|sort }}",
        LAUGHS + "{{ a|unique }}",
        LAUGHS + "{{ a|string }}",
        LAUGHS + "{{ '%s'|format(a) }}",
        LAUGHS + "{{ [a]|map('string')|list }}",
        "{% set a = [0] %}" + "{% set a = a + a %}" * 40,
        LONG + LOOPS + "{% set b = a|upper %}{% endfor %}",
        LONG + LOOPS + "{% set b = a[1:] %}{% endfor %}",
        LONG + LOOPS + "{% if a == a[:-1] %}{% endif %}{% endfor %}",
        LONG + LOOPS + "{% if 'y' in a %}{% endif %}{% endfor %}",
        LONG + LOOPS + "{% set b = a.split('x') %}{% endfor %}",
        LONG + LOOPS + "{{ a|wordcount }}{% endfor %}",
        LONG + LOOPS + "{% set b = a.startswith(a) %}{% endfor %}",
        LONG + LOOPS + "{% set b = a is eq a %}{% endfor %}",
        LONG + "{% set b = [a] * 1000 %}{{ b|sort }}",
        LONG + LOOPS + "{{ a }}{% endfor %}",
        "{% for a in range(1000) %}{{ range(1000)|map('string')|join }}{% endfor %}",
        "{{ range(100000)|map(attribute='a" + ".a" * 40_000 + "', default=1)|list }}",
        "{% for a in range(100000) %}" + "{{ input.what|d }}" * 300 + "{% endfor %}",
        "{% for a in range(100000) %}{{ input.what is defined }}{% endfor %}" * 20,
    ],
)  # fmt: skip
def test_a_hostile_template_ends_at_once(template: str) -> None:
    """It has used up its work, or asked for what is too large: before that was made."""
    begun_s = time.process_time()
    with pytest.raises(TemplateFailed):
        render(template, NAMES)
    assert time.process_time() - begun_s < SECONDS_MAX


@pytest.mark.parametrize("template", [LAUGHS + "{{ a }}", "{{ input.big }}", "{{ input.deep }}"])
def test_a_value_is_bounded_too(template: str) -> None:
    """In its size, and in its depth where it becomes a text."""
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    names = {"input": {"big": ["x" * 900_000] * 30, "deep": deep}}
    with pytest.raises(TemplateFailed):
        render(f"{template}!", names)
    if "deep" not in template:
        with pytest.raises(TemplateFailed):
            value_of(template, names)


def test_a_text_is_bounded() -> None:
    """Up to its bound all is well."""
    assert len(render("{{ 'x' * n }}", {"n": TEXT_CHARS_MAX})) == TEXT_CHARS_MAX
    with pytest.raises(TemplateFailed, match="into a file"):
        render("{{ 'x' * n }}y", {"n": TEXT_CHARS_MAX})


@pytest.mark.parametrize(
    ("said", "is_true"),
    [
        (True, True), (False, False), ("{{ input.deep }}", True), ("{{ not input.deep }}", False),
        ("{{ input.none }}", False), ("{{ 0 }}", False), ("{{ 2 }}", True), ("{{ [] }}", False),
        ("{{ 'No' }}", False), ("{{ ' false\n' }}", False), ("{{ '0' }}", False),
        ("{{ 'nothing' }}", True), ("yes", True), ("{{ 1 > 2 }} ", False), ("", False),
        ("{% if input.deep %}none{% endif %}", False),
    ],
)  # fmt: skip
def test_truth(said: str | bool, is_true: bool) -> None:
    """A native value is itself; a text is false where it says so."""
    assert truth(said, NAMES) is is_true


def action(**fields: Any) -> Kind:
    """Of a step."""
    return Step.model_validate({"id": "a", **fields}).action


def test_a_kind_is_rendered_field_by_field() -> None:
    """Texts as texts, values as values, names and what is written out not at all."""
    told = rendered(
        action(prompt={"text": "On {{ input.topic }}", "model": "m", "max_tokens": 5}), NAMES
    )
    assert told == action(prompt={"text": "On owls", "model": "m", "max_tokens": 5})
    told = rendered(action(command=["x", "{{ steps.plan.output.n }}"]), NAMES)
    assert told == action(command=["x", "3"])
    arguments = {"{{ a }}": "{{ steps.plan.output.sections }}", "b": ["{{ 1 }}", "x{{ 1 }}", 2]}
    told = rendered(action(python={"function": "a:b", "arguments": arguments}), NAMES)
    assert told.model_dump()["arguments"] == {"{{ a }}": SECTIONS, "b": [1, "x1", 2]}
    body = {"url": "http://{{ input.topic }}/", "headers": {"a": "{{ 1 }}"}, "body": "{{ [1] }}"}
    told = rendered(action(http=body), NAMES)
    assert told == action(http={"url": "http://owls/", "headers": {"a": "1"}, "body": [1]})
    told = rendered(action(workflow={"name": "w", "input": {"n": "{{ 1 + 1 }}"}}), NAMES)
    assert told == action(workflow={"name": "w", "input": {"n": 2}})
    told = rendered(action(approval={"message": "{{ input.topic }}?", "timeout": "24h"}), NAMES)
    assert told == action(approval={"message": "owls?", "timeout": "24h"})
    for plain in (action(sleep="1s"), action(prompt="x"), action(http="https://x")):
        assert rendered(plain, NAMES) is plain


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"prompt": "{{ input.none }}"},
         "prompt.text, once it is rendered: text: may not be empty"),
        ({"prompt": {"text": "x", "system": "{{ input.what }}"}}, "prompt.system: input.what: no"),
        ({"command": ["a", "{{ input.what }}"]}, r"command.argv\[1\]: input.what: no such field"),
        ({"python": {"function": "a:b", "arguments": {"x": ["{{ y }}"]}}},
         r"python.arguments.x\[0\]: y: no such name"),
        ({"approval": "{{ 'x' * 20000 }}"}, "approval.message, once it is rendered"),
    ],
)  # fmt: skip
def test_what_a_field_may_not_become_is_said(fields: dict[str, Any], words: str) -> None:
    """With the field's name."""
    with pytest.raises(TemplateFailed, match=words):
        rendered(action(**fields), NAMES)


def test_all_templates_of_a_step_share_one_effort() -> None:
    """A thousand of them, each within its bounds, are not a thousand times the work."""
    dear = "{% for a in range(10000) %}{% set b = a %}{% endfor %}"
    arguments = {str(index): dear for index in range(1000)}
    begun_s = time.process_time()
    with pytest.raises(TemplateFailed, match="too much work"):
        rendered(action(python={"function": "a:b", "arguments": arguments}), NAMES)
    assert time.process_time() - begun_s < SECONDS_MAX


PIECES = [
    *("{{", "}}", "{%", "%}", "for a in", "endfor", "if", "endif", "else", "set a =", "steps", "."),
    *("plan", "output", "sections", "[", "]", "0", "1", "-", "'x'", "|", "join", "map", "sort"),
    *("length", "~", "+", "*", "**", "==", "in", "is", "defined", "default", "input", ":", ","),
    *("range", "(", ")"),
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)).map(lambda each: "{{ " + " ".join(each) + " }}"))
@settings(max_examples=300)
def test_any_template_is_rendered_or_fails(template: str) -> None:
    """Nothing else is raised."""
    try:
        assert isinstance(render(template, NAMES), str)
    except TemplateFailed as error:
        assert str(error)  # noqa: PT017  # it says something


def _combined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Expressions of expressions, most of them nonsense."""
    signs = st.sampled_from(["+", "-", "*", "/", "//", "%", "**", "~", "and", "==", "<", "in"])
    arguments = st.lists(inner | st.sampled_from(["attribute='a'", "'upper'", "'odd'"]), max_size=2)
    told = arguments.map(", ".join)
    names = [*TEXT_METHODS, *MAPPING_METHODS]
    return st.one_of(
        st.tuples(inner, signs, inner).map(lambda each: f"({' '.join(each)})"),
        st.tuples(inner, st.sampled_from([*FILTERS]), told).map(
            lambda each: f"(({each[0]})|{each[1]}({each[2]}))"
        ),
        st.tuples(inner, st.sampled_from(names), told).map(
            lambda each: f"({each[0]}).{each[1]}({each[2]})"
        ),
        st.tuples(inner, inner, inner).map(lambda each: f"({each[0]})[{each[1]}:{each[2]}]"),
        st.tuples(inner, st.sampled_from(["odd", "lower", "defined", "eq(1)", "in([])"])).map(
            lambda each: f"({each[0]} is {each[1]})"
        ),
    )


LEAVES = [
    *(
        "input.topic",
        "input.deep",
        "input.none",
        "input.what",
        "steps.plan.output",
        "1",
        "-2",
        "''",
    ),
    *("'%d'", "[]", "{}", "10**30", "0.5", "[[1],[2]]", "steps.plan.output.sections", "range(3)"),
]


@given(st.recursive(st.sampled_from(LEAVES), _combined, max_leaves=8))
@settings(max_examples=500)
def test_any_expression_has_a_value_or_fails(expression: str) -> None:
    """One of JSON; nothing else is raised, whatever is applied to whatever."""
    try:
        json.dumps(value_of(f"{{{{ {expression} }}}}", NAMES), default=dict)
    except TemplateFailed as error:
        assert str(error)  # noqa: PT017  # it says something
