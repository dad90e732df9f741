"""`{{ steps.plan.output.sections }}`: what a step takes from its run, in Jinja2's language.

A template may name the run's input, the outputs of steps above it, and, where there are several
rounds, the one that it is in. What it names is known before anything runs, and that it uses only
what there is when it does (`orchestrator.rendering`).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from jinja2 import TemplateSyntaxError, nodes
from jinja2.compiler import generate
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from orchestrator.evaluation import EXPRESSIONS, STATEMENTS
from orchestrator.filters import FILTERS, MAPPING_METHODS, TEXT_METHODS
from orchestrator.predicates import TESTS
from orchestrator.problems import nearest

TEMPLATE_CHARS_MAX = 100_000
STEPS_NAME = "steps"
INPUT_NAME = "input"
_VOLATILE = nodes.Keyword("volatile", nodes.Const(True))
_OTHERS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)
_KNOWN = EXPRESSIONS | STATEMENTS | {nodes.Template, nodes.Operand, nodes.Pair, nodes.Keyword}
_FIELDS = (nodes.Getattr, nodes.Getitem)
_METHODS = sorted({*TEXT_METHODS, *MAPPING_METHODS})
DEPTH_MAX = 200
"""Of its tree: a walk of it fits on Python's stack."""
_PARSED_KEPT = 512


class TemplateInvalid(ValueError):
    """It cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class References:
    """What a template names: `roots` are the first names of all; of `steps` and `input` also the
    field that follows. `steps_unclear`: of which step is only known while it runs."""

    roots: frozenset[str]
    steps: frozenset[str]
    inputs: frozenset[str]
    steps_unclear: bool


def _sandbox() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(autoescape=False)  # prompts, no pages
    environment.globals = {"range": environment.globals["range"]}
    environment.filters = dict(FILTERS)
    environment.tests = dict(TESTS)
    environment.intercepted_binops = frozenset(environment.default_binop_table)
    return environment


_environment = _sandbox()
_OPENINGS = ("{{", "{%", "{#")
_TOO_DEEP = "a template is nested too deeply"
_NOTHING = References(frozenset(), frozenset(), frozenset(), steps_unclear=False)


def is_template(text: str) -> bool:
    """Whether it has anything to render."""
    return any(each in text for each in _OPENINGS)


@lru_cache(maxsize=_PARSED_KEPT)
def parsed(text: str) -> tuple[nodes.Node, ...]:
    """What it consists of, for a walk: nobody changes it. Raises TemplateInvalid."""
    return tuple(_tree(text).body)


@lru_cache(maxsize=_PARSED_KEPT)
def steps_named(text: str) -> frozenset[str]:
    """Of a template that was checked: which steps it names. Raises TemplateInvalid."""
    if not is_template(text):
        return frozenset()
    found = (_field_of(each) for body in parsed(text) for each in body.find_all(_FIELDS))
    return frozenset(field for root, field in found if root == STEPS_NAME)


def references(text: str) -> References:
    """Raises TemplateInvalid."""
    if not is_template(text) and len(text) <= TEMPLATE_CHARS_MAX:
        return _NOTHING
    tree = _tree(text)
    try:
        # Jinja2 computes what is constant while it compiles, as `"x" * 10**9`: but not in here,
        # and no operator that the sandbox intercepts.
        tree.body.insert(0, nodes.EvalContextModifier([_VOLATILE], lineno=1))
        tree.set_environment(_environment)
        roots = find_undeclared_variables(tree) - _environment.globals.keys()
        source = generate(tree, _environment, None, None)  # it knows filters, tests and targets
        compile(source or "", "<template>", "exec")  # and Python alone how deep loops may be
    except TemplateSyntaxError as error:
        raise TemplateInvalid(f"not a template: {error.message}") from None
    except SyntaxError as error:
        raise TemplateInvalid(f"not a template: {error.msg}") from None
    except (RecursionError, MemoryError):  # the latter of Python's own parser
        raise TemplateInvalid(_TOO_DEEP) from None
    fields = [_field_of(each) for each in tree.find_all(_FIELDS)]
    steps = [field for root, field in fields if root == STEPS_NAME]
    mentioned = sum(each.name == STEPS_NAME for each in tree.find_all(nodes.Name))
    return References(
        roots=frozenset(roots),
        steps=frozenset(steps),
        inputs=frozenset(field for root, field in fields if root == INPUT_NAME),
        steps_unclear=mentioned > len(steps),
    )


def _tree(text: str) -> nodes.Template:
    """Of a template that uses only what there is. Raises TemplateInvalid."""
    if len(text) > TEMPLATE_CHARS_MAX:
        raise TemplateInvalid(f"a template has at most {TEMPLATE_CHARS_MAX} characters")
    try:
        tree = _environment.parse(text)
    except TemplateSyntaxError as error:
        raise TemplateInvalid(f"not a template: {error.message}") from None
    except RecursionError:
        raise TemplateInvalid(_TOO_DEEP) from None
    except ValueError:
        raise TemplateInvalid("a template has a number that is too long") from None
    for node in _nodes(tree):
        _check(node)
    return tree


def _nodes(tree: nodes.Template) -> Iterator[nodes.Node]:
    """All of it, without recursion. Raises TemplateInvalid where it is too deep."""
    waiting: list[tuple[int, nodes.Node]] = [(0, tree)]
    while waiting:
        depth, node = waiting.pop()
        if depth > DEPTH_MAX:
            raise TemplateInvalid(_TOO_DEEP)
        yield node
        waiting += [(depth + 1, each) for each in node.iter_child_nodes()]


def _check(node: nodes.Node) -> None:
    """Whether it is there when the template is rendered. Raises TemplateInvalid."""
    if isinstance(node, _OTHERS):
        raise TemplateInvalid("a template stands alone: there is none to include, import or extend")
    if type(node) not in _KNOWN:
        raise TemplateInvalid(
            f"templates have no {type(node).__name__.lower()}: they have if, for, set of one value "
            "and with; a python step can do the rest"
        )
    match node:
        case nodes.For(recursive=True):
            raise TemplateInvalid("templates have no recursive loops: a python step can do that")
        case nodes.Call(node=nodes.Getattr(attr=name)) if name not in _METHODS:
            raise TemplateInvalid(f"templates have no method {name}{nearest(name, _METHODS)}")
        case nodes.Filter(node=None):
            raise TemplateInvalid("templates have no filter blocks: write {{ value | filter }}")
        case nodes.Filter(name=name) if name not in FILTERS:
            raise TemplateInvalid(f"No filter named {name!r}{nearest(name, sorted(FILTERS))}")
        case nodes.Test(name=name) if name not in TESTS:
            raise TemplateInvalid(f"No test named {name!r}{nearest(name, sorted(TESTS))}")
        case nodes.Tuple(items=items) if any(isinstance(each, nodes.Slice) for each in items):
            raise TemplateInvalid("templates take one slice at a time, as in x[1:2]")
        case nodes.Filter() | nodes.Test() | nodes.Call() if node.dyn_args or node.dyn_kwargs:
            raise TemplateInvalid("templates write arguments out: there is no * and no **")
        case _:
            return


def _field_of(node: nodes.Expr) -> tuple[str, str]:
    """The name that a field is taken of, and the field as it is written out; two empty texts for
    what is taken of anything else, or found out while it runs."""
    match node:
        case nodes.Getattr(node=nodes.Name() as root):
            return root.name, node.attr
        case nodes.Getitem(node=nodes.Name() as root, arg=nodes.Const(value=str() as field)):
            return root.name, field
        case _:
            return "", ""
