"""A workflow in Python is the same definition as in YAML; what is wrong in it has its line."""

from pathlib import Path

import pytest

from comptroller.workflow_files import WorkflowInvalid, read_workflow
from orchestrator.authoring import Workflow
from orchestrator.definition import read_definition

HEAD = """from orchestrator.authoring import Workflow

report = Workflow("report", budget=[{"usd": "2.00"}], input={"topic": {"type": "string"}})
report.add("plan", prompt={"text": "Outline {{ input.topic }}", "model": "m"})
"""
STEP = """

@report.step(needs=["plan"], arguments={"outline": "{{ steps.plan.output }}"}, retries=1)
def write(outline):
    return outline.upper()
"""


def file_of(folder: Path, text: str) -> Path:
    path = folder / "report.py"
    path.write_text(text)
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(WorkflowInvalid) as raised:
        read_workflow(file_of(folder, text), None)
    (line,) = raised.value.lines
    return line.removeprefix(f"{folder}/")


def test_functions_are_steps(tmp_path: Path) -> None:
    found = read_workflow(file_of(tmp_path, HEAD + STEP), None)
    arguments = {"outline": "{{ steps.plan.output }}"}
    assert found.workflow == read_definition(
        {
            "name": "report",
            "budget": [{"usd": "2.00"}],
            "input": {"topic": {"type": "string"}},
            "steps": [
                {"id": "plan", "prompt": {"text": "Outline {{ input.topic }}", "model": "m"}},
                {
                    "id": "write",
                    "needs": ["plan"],
                    "python": {"function": "report:write", "arguments": arguments},
                    "retries": 1,
                },
            ],
        }
    )


def twice(n: int) -> int:
    """For the next test."""
    return n * 2


def test_a_function_is_still_one() -> None:
    workflow = Workflow("w", budget=[{"usd": 1}])
    assert workflow.step()(twice)(2) == 4
    assert [each.id for each in workflow.definition().steps] == ["twice"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{HEAD}report.add('x', needs=['y'], sleep='1s')\n", "report.py:5: x needs y"),
        (f"{HEAD}report.add('x', slep='1s')\n", "report.py:5: a step does one thing"),
        (
            f"{HEAD}class A:\n    @report.step()\n    def f(self): pass\n",
            "report.py:6: ValueError: f must stand at the top of its file",
        ),
        (f"{HEAD}1 / 0\n", "report.py:5: ZeroDivisionError"),
        ("def f(:\n", "report.py:1: SyntaxError"),
        ("raise SystemExit(3)\n", "report.py:1: SystemExit"),
        ("x = 1\n", "report.py:1: a file has one Workflow"),
        (f"{HEAD}other = Workflow('b', budget=[])\n", "report.py:1: a file has one Workflow"),
    ],
)
def test_what_is_wrong_has_its_line(tmp_path: Path, text: str, said: str) -> None:
    assert complaint(tmp_path, text).startswith(said)


def test_what_it_prints_is_no_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--json` stays JSON."""
    read_workflow(file_of(tmp_path, HEAD + "print('hello')\n"), None)
    assert capsys.readouterr().out == ""
