"""What a template names is known before it runs; nothing of it runs meanwhile, and whatever is no
template is TemplateInvalid, at once."""

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from orchestrator.templates import TEMPLATE_CHARS_MAX, TemplateInvalid, references

TOKENS = [
    *("{{", "}}", "{%", "%}", "{#", "#}", "steps", "input", ".", "[", "]", "|", "is", "if"),
    *("endif", "for", "in", "endfor", "set", "=", "a", "'", '"', "(", ")", "1", "**", "~", ","),
    *("raw", "endraw", "macro", "endmacro", "call", "endcall", "filter", "endfilter", "block"),
    *("endblock", "autoescape", "with", "endwith", "-", "\n", "else", "upper", ":", "include"),
]


@pytest.mark.parametrize(
    ("text", "roots", "steps", "inputs"),
    [
        ("nothing { here } % #", "", "", ""),
        ("{{ steps.plan.output.sections }}", "steps", "plan", ""),
        ("{{ steps['plan'].output }}", "steps", "plan", ""),
        ("{{ input.topic|upper }} {{ input['other'] }}", "input", "", "topic other"),
        ("{% if run.id and item is defined %}{{ index }}{% endif %}", "run item index", "", ""),
        ("{% for x in steps.a.output %}{{ x }}{{ loop.index }}{% endfor %}", "steps", "a", ""),
        ("{% set x = steps.a.output %}{{ x.b }}", "steps", "a", ""),
        ("{% with x = last %}{{ x }}{% endwith %}", "last", "", ""),
        ("{% raw %}{{ steps.a }}{% endraw %}{# {{ steps.b }} #}", "", "", ""),
        ("{% for n in range(3) %}{{ n }}{% endfor %}", "", "", ""),
        ("{{ lipsum() }}{{ namespace() }}", "lipsum namespace", "", ""),
        ("{{ steps.a.output.steps.b }}", "steps", "a", ""),
    ],
)
def test_a_template_names(text: str, roots: str, steps: str, inputs: str) -> None:
    """First names, and the steps and inputs among them; nothing that it makes itself."""
    found = references(text)
    assert found.roots == {*roots.split()}
    assert found.steps == {*steps.split()}
    assert found.inputs == {*inputs.split()}
    assert not found.steps_unclear


@pytest.mark.parametrize(
    "text",
    [
        "{{ steps }}",
        "{{ steps[item].output }}",
        "{{ steps|length }}",
        "{{ steps.a }}{{ steps|map('b') }}",
        "{% set s = steps %}{{ s.a }}",
        "{% for s in steps %}{{ s }}{% endfor %}",
    ],
)
def test_steps_that_are_only_known_while_it_runs_are_unclear(text: str) -> None:
    """As a whole, by what a variable holds, or under another name."""
    assert references(text).steps_unclear


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{{ input.a", "unexpected end"),
        ("{% if a %}", "endif"),
        ("{% nothing %}", "unknown tag"),
        ("{{ a|uper }}", "No filter named 'uper'"),
        ("{{ a is evn }}", "No test named 'evn'"),
        ("{% include 'x' %}", "include, import or extend"),
        ("{% if a %}{% include a %}{% endif %}", "include, import or extend"),
        ("{% import 'x' as y %}", "include, import or extend"),
        ("{% from 'x' import y %}", "include, import or extend"),
        ("{% extends 'x' %}", "include, import or extend"),
        ("x" * (TEMPLATE_CHARS_MAX + 1), f"at most {TEMPLATE_CHARS_MAX} characters"),
        ("{{ " + "(" * 5_000 + "a" + ")" * 5_000 + " }}", "nested"),
        ("{{ a" + ".b" * 40_000 + " }}", "nested"),
        ("{% for x in input.a %}" * 25 + "{% endfor %}" * 25, "nested"),
        ("{{ " + "1" * 5_000 + " }}", "number that is too long"),
        ("{% macro f(a) %}{% endmacro %}", "no macro: they have if, for"),
        ("{% call f() %}{% endcall %}", "no callblock"),
        ("{% block b %}{% endblock %}", "no block"),
        ("{% filter upper %}a{% endfilter %}", "no filterblock"),
        ("{% set x %}a{% endset %}", "no assignblock"),
        ("{% autoescape true %}a{% endautoescape %}", "no scope"),
        ("{% for x in a recursive %}{{ loop(x) }}{% endfor %}", "no recursive loops"),
        ("{{ [1, 2]|random }}", "No filter named 'random'"),
        ("{{ a.uper() }}", "no method uper: did you mean upper"),
        ("{{ ''.__class__.mro() }}", "no method mro"),
        ("{{ 0 is is }}", "No test named 'is'"),
        ("{{ a[1:2, 3] }}", "one slice at a time"),
        ("{{ range(*a) }}", "write arguments out"),
    ],
)
def test_what_is_no_template_is_said(text: str, words: str) -> None:
    """Also what only Python would find, when the template is rendered for the first time."""
    with pytest.raises(TemplateInvalid, match=words):
        references(text)


@pytest.mark.parametrize(
    "text",
    [
        "{{ 'x' * 10**11 }}",
        "{{ 10**10**9 }}",
        "{% if 'x'|indent(10000000000) %}{% endif %}",
        "{{ '%10000000000d' % 1 }}",
        "{% set a = ('x' * 10**11)|length %}",
        "{% with x = 'x' * 10**11 %}{{ x }}{% endwith %}",
        "{{ 'x'|replace('x', 'y' * 10**10) }}",
        "{{ a" + ".b" * 190 + " }}",
    ],
)
@pytest.mark.timeout(10)
def test_nothing_is_computed_before_the_run(text: str) -> None:
    """Jinja2 folds constants while it compiles: 100 GB of x would be a constant, too."""
    assert not references(text).steps_unclear


@given(
    st.one_of(
        st.text(),
        st.lists(st.sampled_from(TOKENS)).map(" ".join),
        st.lists(st.sampled_from(TOKENS)).map(lambda each: "{% " + " ".join(each) + " %}"),
        st.lists(st.sampled_from(TOKENS)).map(lambda each: "{{ " + " ".join(each) + " }}"),
    )
)
@settings(max_examples=150)
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing else is raised."""
    try:
        references(text)
    except TemplateInvalid as error:
        assert str(error)  # noqa: PT017  # it says something
