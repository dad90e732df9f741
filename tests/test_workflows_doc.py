"""What docs/workflows.md shows is accepted as it is, and its tables have exactly what there is."""

import re
from pathlib import Path

from comptroller.workflow_files import read_workflow
from orchestrator.definition import Defaults, Step, Workflow
from orchestrator.kinds import KINDS

DOC = (Path(__file__).parent.parent / "docs" / "workflows.md").read_text(encoding="utf-8")


def rows(title: str) -> list[list[str]]:
    """The cells of a table, by the first cell of its head."""
    table = DOC.split(f"\n| {title} |", 1)[1].split("\n\n", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.split("\n")[2:]]


def names(cell: str) -> set[str]:
    """What is set in code in it."""
    return set(re.findall(r"`(\w+)`", cell))


def test_the_workflow_is_accepted(tmp_path: Path) -> None:
    """With the demo models, and without a word against it."""
    found = re.search(r"```yaml\n(.*?)```", DOC, re.DOTALL)
    assert found is not None
    file = tmp_path / "research.yaml"
    file.write_text(found[1])
    assert len(read_workflow(file, {"demo/small"}).workflow.steps) == 4


def test_the_tables_have_every_field_and_no_other() -> None:
    """Of the workflow, of a step, and of each kind."""
    of_workflow = set[str]().union(*(names(row[0]) for row in rows("of the workflow")))
    assert of_workflow == set(Workflow.model_fields)
    (defaults,) = (row[1] for row in rows("of the workflow") if row[0] == "`defaults`")
    assert names(defaults) == set(Defaults.model_fields)
    of_step = set[str]().union(*(names(row[0]) for row in rows("of a step")))
    assert of_step == set(Step.model_fields) - {"action"}
    for kind, _, fields in rows("kind"):
        (name,) = names(kind)
        said = names(re.sub(r"\(.*?\)", "", fields))
        assert said == set(KINDS[name].model_fields) - {"kind"}, name
    assert {next(iter(names(row[0]))) for row in rows("kind")} == set(KINDS)
