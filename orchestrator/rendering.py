"""Templates at run time: from what a run has to what a step is told. Pure, and bounded.

What a model, a program or a server has said is data in here: it is put into texts, and never read
as a template itself.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType
from typing import Annotated, Any

from jinja2 import nodes
from pydantic import TypeAdapter, ValidationError

from orchestrator.effort import VALUE_CHARS_MAX, Effort, TemplateFailed
from orchestrator.evaluation import Evaluation
from orchestrator.form import form_problems
from orchestrator.kinds.contract import Kind
from orchestrator.templates import TemplateInvalid, is_template, parsed

__all__ = ["TemplateFailed", "render", "rendered", "truth", "value_of"]

NOT_TRUE = frozenset(("", "false", "0", "no", "none", "null"))
"""Texts that are false, in any case: what a program prints, or a model answers, is a text."""
_NO_PATTERNS: Mapping[str, str] = MappingProxyType({})


def render(text: str, names: Mapping[str, Any]) -> str:
    """A template as a text: lists and mappings in it as JSON, true and false, nothing for null.
    `names`: the roots that it may name, each a JSON value. Raises TemplateFailed."""
    return _as_text(text, names, Effort())


def value_of(text: str, names: Mapping[str, Any]) -> Any:
    """Of a template that is one `{{ expression }}` alone, perhaps with white space around: its
    value, as it is in JSON. Of any other one its text. Raises TemplateFailed."""
    return _as_value(text, names, Effort())


def truth(said: str | bool, names: Mapping[str, Any]) -> bool:
    """Of `when` and `until`. A text is false where it is one of NOT_TRUE, else true; any other
    value is false where it is false, null, zero or empty. Raises TemplateFailed."""
    value = said if isinstance(said, bool) else value_of(said, names)
    if isinstance(value, str):
        return value.strip().lower() not in NOT_TRUE
    return bool(value)


def rendered(kind: Kind, names: Mapping[str, Any]) -> Kind:
    """The same with each of its templates rendered, as a text or as a value as the field is one
    (`Kind.by_value`); all of them together within one effort. Raises TemplateFailed, also where
    the result is no longer what the field may be; the message names the field."""
    effort = Effort()
    changed = {}
    for field in type(kind).model_fields.keys() - {"kind", *kind.written_out}:
        said = getattr(kind, field)
        place = f"{kind.kind}.{field}"
        change = _as_value if field in kind.by_value else _as_text
        told = _throughout(said, place, partial(change, names=names, effort=effort))
        if told is not said:
            changed[field] = _checked(type(kind), field, told, place)
    return kind.model_copy(update=changed) if changed else kind


def _throughout(said: Any, place: str, change: Callable[[str], Any]) -> Any:
    """A value with its texts changed; the same object where there is none to change."""
    if isinstance(said, str):
        if not is_template(said):
            return said
        try:
            return change(said)
        except TemplateFailed as error:
            raise TemplateFailed(f"{place}: {error}") from None
    if isinstance(said, Mapping):
        told: Any = {
            name: _throughout(each, f"{place}.{name}", change) for name, each in said.items()
        }
        is_same = all(told[name] is each for name, each in said.items())
    elif isinstance(said, list | tuple):
        told = [_throughout(each, f"{place}[{at}]", change) for at, each in enumerate(said)]
        is_same = all(new is old for new, old in zip(told, said, strict=True))
    else:
        return said
    return said if is_same else told


def _checked(kind: type[Kind], field: str, value: Any, place: str) -> Any:
    try:
        return _adapter(kind, field).validate_python(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        placed = [{**each, "loc": (field, *each["loc"])} for each in found]
        (problem, *_) = form_problems(placed, lambda _: frozenset(), _NO_PATTERNS)
        raise TemplateFailed(f"{place}, once it is rendered: {problem.message}") from None


@lru_cache(maxsize=64)
def _adapter(kind: type[Kind], field: str) -> TypeAdapter[Any]:
    info = kind.model_fields[field]
    whole: Any = info.annotation
    return TypeAdapter(Annotated[(whole, *info.metadata)] if info.metadata else whole)


def _as_text(text: str, names: Mapping[str, Any], effort: Effort) -> str:
    if not is_template(text):
        return text
    return str(_walked(lambda: Evaluation(names, effort).text(_parsed(text))))


def _as_value(text: str, names: Mapping[str, Any], effort: Effort) -> Any:
    if not is_template(text):
        return text
    alone = _alone(_parsed(text))
    if alone is None:
        return _as_text(text, names, effort)

    def walk() -> Any:
        value = Evaluation(names, effort).value(alone)
        if effort.measure(value) > VALUE_CHARS_MAX:
            raise TemplateFailed(
                f"a value has at most {VALUE_CHARS_MAX} characters: put what is longer into a file"
            )
        return value

    return _walked(walk)


def _walked(walk: Callable[[], Any]) -> Any:
    try:
        return walk()
    except RecursionError:
        raise TemplateFailed("a template, or a value in it, is nested too deeply") from None


def _parsed(text: str) -> tuple[nodes.Node, ...]:
    try:
        return parsed(text)
    except TemplateInvalid as error:
        raise TemplateFailed(str(error)) from None


def _alone(body: tuple[nodes.Node, ...]) -> nodes.Expr | None:
    """The one expression of a template that has nothing else."""
    if len(body) != 1 or not isinstance(body[0], nodes.Output):
        return None
    found = [each for each in body[0].nodes if not _is_blank(each)]
    (one,) = found if len(found) == 1 else (None,)
    return None if isinstance(one, nodes.TemplateData) else one


def _is_blank(node: nodes.Expr) -> bool:
    return isinstance(node, nodes.TemplateData) and not node.data.strip()
