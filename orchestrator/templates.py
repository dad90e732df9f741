"""`{{ steps.plan.output.sections }}`: what a step takes from its run, in Jinja2's sandbox.

A template may name the run's input, the outputs of steps above it, and, where there are several
rounds, the one that it is in. What it names is known before anything runs.
"""

from dataclasses import dataclass

from jinja2 import TemplateSyntaxError, nodes
from jinja2.compiler import generate
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_CHARS_MAX = 100_000
STEPS_NAME = "steps"
INPUT_NAME = "input"
_VOLATILE = nodes.Keyword("volatile", nodes.Const(True))
_OTHERS = (nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends)


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
    environment.intercepted_binops = frozenset(environment.default_binop_table)
    return environment


_environment = _sandbox()
_OPENINGS = ("{{", "{%", "{#")
_NOTHING = References(frozenset(), frozenset(), frozenset(), steps_unclear=False)


def is_template(text: str) -> bool:
    """Whether it has anything to render."""
    return any(each in text for each in _OPENINGS)


def references(text: str) -> References:
    """Raises TemplateInvalid."""
    if len(text) > TEMPLATE_CHARS_MAX:
        raise TemplateInvalid(f"a template has at most {TEMPLATE_CHARS_MAX} characters")
    if not is_template(text):
        return _NOTHING
    try:
        tree = _environment.parse(text)
        # Jinja2 computes what is constant while it compiles, as `"x" * 10**9`: but not in here,
        # and no operator that the sandbox intercepts.
        tree.body.insert(0, nodes.EvalContextModifier([_VOLATILE], lineno=1))
        tree.set_environment(_environment)
        roots = find_undeclared_variables(tree) - _environment.globals.keys()
        source = generate(tree, _environment, None, None)  # it alone knows filters and tests
        compile(source or "", "<template>", "exec")  # and Python alone how deep loops may be
    except TemplateSyntaxError as error:
        raise TemplateInvalid(f"not a template: {error.message}") from None
    except SyntaxError as error:
        raise TemplateInvalid(f"not a template: {error.msg}") from None
    except (RecursionError, MemoryError):  # the latter of Python's own parser
        raise TemplateInvalid("a template is nested too deeply") from None
    except ValueError:
        raise TemplateInvalid("a template has a number that is too long") from None
    if any(tree.find_all(_OTHERS)):
        raise TemplateInvalid("a template stands alone: there is none to include, import or extend")
    fields = [_field_of(each) for each in tree.find_all((nodes.Getattr, nodes.Getitem))]
    steps = [field for root, field in fields if root == STEPS_NAME]
    mentioned = sum(each.name == STEPS_NAME for each in tree.find_all(nodes.Name))
    return References(
        roots=frozenset(roots),
        steps=frozenset(steps),
        inputs=frozenset(field for root, field in fields if root == INPUT_NAME),
        steps_unclear=mentioned > len(steps),
    )


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
