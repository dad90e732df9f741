"""Whether a definition can run with the files inside it, and what is said of all of them. Pure."""

from collections.abc import Collection, Iterator
from itertools import islice

from orchestrator.bundle import Bundle, in_file
from orchestrator.checks import problems_of
from orchestrator.definition import Step, Workflow
from orchestrator.kinds.workflow import SubWorkflow
from orchestrator.problems import PROBLEMS_MAX, Problem, nearest
from orchestrator.templates import is_template

FILE_SUFFIXES = (".yaml", ".yml", ".json")
"""A workflow whose name ends so is a file beside the one that starts it."""
PROGRAM_KINDS = frozenset(("command", "python"))
"""Kinds that run something on the server's machine."""
_OF_RUN = 2
_OF_KEY = 1


def bundle_problems(bundle: Bundle, models: Collection[str] | None) -> tuple[Problem, ...]:
    """PROBLEMS_MAX of them at most, the outermost workflow's first. `models` as in
    `orchestrator.checks`."""
    return tuple(islice(_problems(bundle, models), PROBLEMS_MAX))


def _problems(bundle: Bundle, models: Collection[str] | None) -> Iterator[Problem]:
    yield from problems_of(bundle.workflow, models)
    started = set[str]()
    for index, step in enumerate(bundle.workflow.steps):
        action = step.action
        if isinstance(action, SubWorkflow) and is_file(action):
            started.add(action.name)
            if message := _complaint(bundle, action):
                yield Problem(("steps", index, "workflow"), message)
    for name, each in bundle.files.items():
        if name not in started:
            yield Problem(("files", name), f"no step starts {name}: leave it out")
        yield from in_file(name, _problems(each, models))


def is_file(action: SubWorkflow) -> bool:
    """Whether it names a file, and not a workflow that is known."""
    return action.name.endswith(FILE_SUFFIXES)


def _complaint(bundle: Bundle, action: SubWorkflow) -> str:
    inside = bundle.files.get(action.name)
    if inside is None:
        return f"{action.name} is not in files{nearest(action.name, [*bundle.files])}"
    return input_complaint(action.name, inside.workflow, action)


def input_complaint(name: str, workflow: Workflow, action: SubWorkflow) -> str:
    """What is wrong with what a step gives to a workflow; empty where nothing is. `name`: as
    people know the workflow."""
    for each, value in action.input.items():
        if each not in workflow.input:
            return f"{name} has no input {each}{nearest(each, [*workflow.input])}"
        is_known = not (isinstance(value, str) and is_template(value))
        if is_known and not workflow.input[each].fits(value):
            return f"{name} wants {each} as {workflow.input[each].type}"
    for each, said in workflow.input.items():
        if said.required and said.default is None and each not in action.input:
            return f"{name} needs the input {each}: write it into workflow.input"
    return ""


def programs_of(bundle: Bundle) -> Iterator[str]:
    """Ids of steps that run something on the server's machine, those of files inside too."""
    for step in bundle.workflow.steps:
        if step.action.kind in PROGRAM_KINDS:
            yield step.id
    for each in bundle.files.values():
        yield from programs_of(each)


def segments_below(bundle: Bundle) -> int:
    """Of the deepest scope that a run of it works in, below the one that it is submitted to: its
    name and id, its step, the entry, and the key of the attempt."""
    return _OF_RUN + _below(bundle)


def _below(bundle: Bundle) -> int:
    return max(_of_step(bundle, step) for step in bundle.workflow.steps)


def _of_step(bundle: Bundle, step: Step) -> int:
    own = 1 + (step.foreach is not None)
    inside = bundle.files.get(step.action.name) if isinstance(step.action, SubWorkflow) else None
    return own + (_OF_KEY if inside is None else 1 + _below(inside))
