"""Every complaint about a workflow's file has the file and the line of what has to change, in the
files that it starts, too; and a file is WorkflowInvalid or read, whatever stands in it."""

import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from comptroller.workflow_files import WorkflowInvalid, read_workflow
from orchestrator.bundle import DEPTH_MAX, read_bundle
from orchestrator.kinds.http import Http

MODELS = {"demo/small", "demo/large"}
HEAD = """name: w
budget:
  - usd: "1.00"
  - {tokens: 1000}
defaults: {model: demo/small}
steps:
"""
"""Its steps begin in line 7."""
STEP = "  - {id: a, sleep: 1s}\n"


def complaints(path: Path) -> list[str]:
    """The lines, without the folder."""
    with pytest.raises(WorkflowInvalid) as caught:
        read_workflow(path, MODELS)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return [line.replace(f"{path.parent}/", "") for line in caught.value.lines]


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", 1, "empty: a workflow has a name, a budget and steps"),
        ("- a\n", 1, "expected a mapping"),
        ("name: [\n", 2, "not valid YAML"),
        ("name: w\nname: x\n", 2, "name is there twice; the first is in line 1"),
        ("name: &a w\n", 1, "anchors and aliases are not supported"),
        (f"# {HEAD}{STEP}".replace("name: w", "", 1), 2, "name is missing"),
        (HEAD.replace("name: w", "nam: w") + STEP, 1, "unknown field nam: did you mean name?"),
        (HEAD.replace("name: w", "name: W") + STEP, 1, "name has 1 to 48"),
        (HEAD.replace("1.00", "x") + STEP, 2, "usd is dollars as a decimal string"),
        (HEAD.replace("demo/small", "demo/smal") + STEP, 5, "did you mean demo/small?"),
        (HEAD.replace("steps:", "input:\n  a: {}\nsteps:") + STEP, 7, "type is missing"),
        (HEAD + "  []\n", 6, "steps has at least 1"),
        (HEAD + STEP + "  - id: b\n    neds: [a]\n    sleep: 1s\n", 9, "did you mean needs?"),
        (HEAD + STEP + "  - id: b\n", 8, "a step does one thing"),
        (HEAD + STEP + "  - id: b\n    promt: x\n", 8, "promt: did you mean prompt?"),
        (HEAD + STEP + "  - id: b\n    sleep: 3\n", 9, "a whole number with s, m, h or d"),
        (HEAD + "  - id: b\n    prompt:\n      text: x\n      max_tokens: x\n", 10, "whole number"),
        (HEAD + "  - id: b\n    prompt:\n      sistem: x\n", 8, "text is missing"),
        (HEAD + STEP + "  - sleep: 1s\n    id: a\n", 9, "a is step 1 already"),
        (
            HEAD + STEP + "  - id: b\n    sleep: 1s\n    needs:\n      - a\n      - c\n",
            12,
            "no step",
        ),
        (
            HEAD + "  - {id: a, sleep: 1s, needs: [b]}\n  - id: b\n    sleep: 1s\n    needs: [a]\n",
            7,
            "a -> b -> a",
        ),
        (HEAD + '  - id: b\n    when: "{{ steps.c }}"\n    sleep: 1s\n', 8, "c, which is no step"),
        (HEAD + '  - id: b\n    command:\n      - x\n      - "{{ item }}"\n', 10, "names item"),
        (HEAD + STEP + 'output: "{{ steps.b }}"\n', 8, "b, which is no step"),
        (
            HEAD + "  - id: b\n    sleep: 1s\n    budget:\n      - usd: 1.01\n",
            10,
            "at most its run's",
        ),
        (HEAD + "  - id: b\n    sleep: 1s\n    guaranteed: yes\n", 9, "no budget that could be"),
        (HEAD + "  - id: b\n    sleep: 1s\n    when: false\n", 9, "b never runs"),
        (HEAD + "  - id: b\n    prompt:\n      text: x\n      model: demo\n", 10, "may be asked"),
        (HEAD + "  - id: b\n    sleep: 1s\n    models: [demo/larg]\n", 9, "mean demo/large?"),
        (
            HEAD + "  - id: b\n    foreach:\n      items: 3\n    sleep: 1s\n",
            9,
            "a list, or a template",
        ),
        (HEAD + '  - id: b\n    foreach: "{{ x"\n    sleep: 1s\n', 8, "not a template"),
        (HEAD + "  - id: b\n    http: {url: http://x, body: 1.0e+999}\n", 8, "a number is finite"),
        (HEAD + '  - id: b\n    http: {url: http://x, body: "\\ud800"}\n', 8, "surrogate"),
        (HEAD + "  - id: b\n    workflow: other.yaml\n", 8, "there is no file"),
        (HEAD + "  - id: b\n    workflow: ../other.yaml\n", 8, "is not beside this file"),
        (HEAD + "  - id: b\n    workflow: /etc/other.yaml\n", 8, "is not beside this file"),
        (HEAD + f"  - id: b\n    workflow: {'x' * 400}.yaml\n", 8, "there is no file"),
        (HEAD + "  - id: b\n    workflow: w.yaml\n", 8, "w.yaml starts itself"),
        (HEAD + "  - id: b\n    workflow:\n      name: ./w.yaml\n", 8, "starts itself"),
    ],
)
def test_a_complaint_names_the_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    """The right one."""
    file = tmp_path / "w.yaml"
    file.write_text(text)
    found = complaints(file)
    (said,) = [each for each in found if words in each] or found[:1]
    assert said.startswith(f"w.yaml:{line}: ")
    assert words in said


def test_all_complaints_are_said_at_once(tmp_path: Path) -> None:
    """Of the file and of those inside it, each with its own file and line."""
    (tmp_path / "inner.yaml").write_text(f"{HEAD}  - id: a\n    prompt: '{{{{ x }}}}'\n")
    file = tmp_path / "w.yaml"
    file.write_text(
        f"{HEAD}  - {{id: a, workflow: inner.yaml}}\n  - {{id: b, prompt: '{{{{ y }}}}'}}\n"
        "  - {id: c, workflow: nowhere.yaml}\n"
    )
    assert [each.split(": ", 1)[0] for each in complaints(file)] == [
        *("w.yaml:8", "inner.yaml:8", "w.yaml:9")
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """None, a folder, no UTF-8, too large."""
    assert "cannot be read" in complaints(tmp_path / "none.yaml")[0]
    assert "cannot be read" in complaints(tmp_path)[0]
    file = tmp_path / "w.yaml"
    file.write_bytes(b"name: w\nx: \xff\n")
    assert complaints(file) == ["w.yaml:2: not UTF-8: save it as UTF-8"]
    file.write_bytes(b"#" * (1024 * 1024 + 1))
    assert "larger than" in complaints(file)[0]


def test_json_is_read_as_it_is_written_elsewhere(tmp_path: Path) -> None:
    """With tabs, and escapes in pairs for what is beyond 16 bits, as most programs write it."""
    body = {"text": "a/b 😀", "number": 0.5, "small": 1e-07, "large": 1e99, "list": [1, None, True]}
    document = {
        "name": "w",
        "budget": [{"usd": 0.5}],
        "steps": [{"id": "a", "http": {"url": "http://x", "body": body}}],
    }
    file = tmp_path / "w.json"
    file.write_text(json.dumps(document, indent="\t").replace("/b", "\\/b"))
    assert "1e-07" in file.read_text()
    found = read_workflow(file, MODELS).workflow
    action = found.steps[0].action
    assert isinstance(action, Http)
    assert action.body == body
    assert found.budget[0].amount == 5 * 10**8


def test_what_is_no_json_is_told_with_its_line(tmp_path: Path) -> None:
    """Though a reader of YAML would take it."""
    file = tmp_path / "w.json"
    file.write_text('{\n"name": "w",\n"budget": [{usd: 1}]}')
    (said,) = complaints(file)
    assert said.startswith("w.json:3: not valid JSON: ")
    file.write_text(
        '{\n"name": "w",\n"budget": [{"usd": 1}],\n"steps": [{"id": "a", "sleep": NaN}]}'
    )
    assert complaints(file)[0].startswith("w.json:4: a number is finite")


def test_money_is_what_was_written_and_a_number_a_number(tmp_path: Path) -> None:
    """No decimal is lost on the way of a budget; a temperature is no text."""
    file = tmp_path / "w.yaml"
    prompt = "{text: x, temperature: 0.7}"
    file.write_text(
        HEAD.replace('"1.00"', "7654321.123456789")
        + f"  - {{id: a, prompt: {prompt}, budget: [{{usd: 0.000000001}}]}}\n"
    )
    found = read_workflow(file, MODELS).workflow
    assert found.budget[0].amount == 7654321_123456789
    assert found.steps[0].budget[0].amount == 1
    assert found.steps[0].action.model_dump()["temperature"] == 0.7
    file.write_text(HEAD + "  - {id: a, foreach: [0.5, '0.5', 1], sleep: 1s}\n")
    foreach = read_workflow(file, MODELS).workflow.steps[0].foreach
    assert foreach is not None
    assert foreach.items == (0.5, "0.5", 1)


INNER = HEAD.replace("steps:", "input: {a: {type: string}, b: {type: integer, default: 1}}\nsteps:")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("{}", "inner.yaml needs the input a: write it into workflow.input"),
        ("{a: x, c: 1}", "inner.yaml has no input c"),
        ("{a: 1}", "inner.yaml wants a as string"),
        ("{a: x, b: '1'}", "inner.yaml wants b as integer"),
        ("{a: x, aa: 1}", "inner.yaml has no input aa: did you mean a?"),
    ],
)
def test_a_workflow_inside_is_given_what_it_asks_for(
    tmp_path: Path, given: str, words: str
) -> None:
    """All that it needs, and nothing that it does not know."""
    (tmp_path / "inner.yaml").write_text(INNER + STEP)
    file = tmp_path / "w.yaml"
    file.write_text(f"{HEAD}{STEP}  - id: b\n    workflow: {{name: inner.yaml, input: {given}}}\n")
    (said,) = complaints(file)
    assert said.startswith("w.yaml:9: ")
    assert words in said


def test_what_a_template_gives_is_known_while_it_runs(tmp_path: Path) -> None:
    """It may be of any type."""
    (tmp_path / "inner.yaml").write_text(INNER + STEP)
    file = tmp_path / "w.yaml"
    given = "{a: x, b: '{{ run.number }}'}"
    file.write_text(f"{HEAD}  - id: b\n    workflow: {{name: inner.yaml, input: {given}}}\n")
    assert [*read_workflow(file, MODELS).inside] == ["b"]


def test_workflows_inside_are_read_with_it(tmp_path: Path) -> None:
    """By the step that starts them, beside the file that names them; a name is none of them."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "inner.yml").write_text(
        f"{INNER}  - {{id: deeper, workflow: last.json}}\n"
    )
    (tmp_path / "more" / "last.json").write_text(
        '{"name": "last", "budget": [{"usd": 1}], "steps": [{"id": "a", "sleep": "1s"}]}'
    )
    file = tmp_path / "w.yaml"
    inner = "{name: more/inner.yml, input: {a: x}}"
    file.write_text(f"{HEAD}  - {{id: a, workflow: {inner}}}\n  - {{id: b, workflow: known}}\n")
    found = read_workflow(file, MODELS)
    assert [*found.inside] == ["a"]
    last = found.inside["a"].inside["deeper"]
    assert (last.path, last.workflow.name) == (tmp_path / "more" / "last.json", "last")


def test_a_circle_of_files_is_told_where_it_closes(tmp_path: Path) -> None:
    """In the last of them."""
    for n in range(3):
        name = f"f{(n + 1) % 3}.yaml"
        (tmp_path / f"f{n}.yaml").write_text(f"{HEAD}  - id: a\n    workflow: {name}\n")
    (said,) = complaints(tmp_path / "f0.yaml")
    assert said == "f2.yaml:8: f0.yaml starts itself, and would without end"


def chain(folder: Path, length: int, steps: int = 1) -> Path:
    """Files that start the next one, by so many steps each."""
    for n in range(length):
        start = "".join(f"  - {{id: s{k}, workflow: f{n + 1}.yaml}}\n" for k in range(steps))
        (folder / f"f{n}.yaml").write_text(HEAD + start)
    (folder / f"f{length}.yaml").write_text(HEAD + STEP)
    return folder / "f0.yaml"


def test_files_are_only_so_deep_inside_each_other(tmp_path: Path) -> None:
    """As many as are permitted, and one more."""
    read_workflow(chain(tmp_path, DEPTH_MAX), MODELS)
    (said,) = complaints(chain(tmp_path, DEPTH_MAX + 1))
    assert said == f"f{DEPTH_MAX}.yaml:7: workflows are at most {DEPTH_MAX} deep inside each other"


@pytest.mark.parametrize(
    ("starts", "closes"), [(("f0", "f2"), f"f{DEPTH_MAX - 1}"), (("f2", "f0"), "f1")]
)
def test_no_order_of_steps_lets_files_deeper_inside_each_other(
    tmp_path: Path, starts: tuple[str, ...], closes: str
) -> None:
    """Also where the files at the end were already read for a step that starts them sooner."""
    file = tmp_path / "w.yaml"
    steps = "".join(f"  - {{id: {name}, workflow: {name}.yaml}}\n" for name in starts)
    file.write_text(HEAD + steps)
    chain(tmp_path, DEPTH_MAX - 1)
    assert read_workflow(file, MODELS).depth == DEPTH_MAX
    chain(tmp_path, DEPTH_MAX)
    (said,) = complaints(file)
    assert said == f"{closes}.yaml:7: workflows are at most {DEPTH_MAX} deep inside each other"


@pytest.mark.timeout(20)
def test_a_file_that_is_started_often_is_read_once(tmp_path: Path) -> None:
    """Three files with thirty steps each would be 27,000; and their complaints, too."""
    first = chain(tmp_path, DEPTH_MAX, steps=30)
    found = read_workflow(first, MODELS)
    assert len(found.inside) == 30
    assert found.inside["s0"] is found.inside["s29"]
    (tmp_path / f"f{DEPTH_MAX}.yaml").write_text(HEAD + STEP + STEP)
    assert complaints(first) == [f"f{DEPTH_MAX}.yaml:8: a is step 1 already"]


@given(st.text(), st.integers(0, len(HEAD + STEP)), st.integers(0, 20))
@settings(max_examples=60)
@example("&a [*a]", 0, 0)
@example("\ud800", 3, 0)
@example("!!python/object:x", 6, 1)
def test_a_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, text: str, at: int, length: int
) -> None:
    """A piece of it is another; nothing else is raised."""
    file = tmp_path_factory.getbasetemp() / "damaged.yaml"
    whole = HEAD + STEP
    damaged = whole[:at] + text + whole[at + length :]
    file.write_bytes(damaged.encode("utf-8", "surrogatepass"))
    try:
        read_workflow(file, MODELS)
    except WorkflowInvalid as error:
        lines = error.lines
        assert lines
        assert all(line.startswith(f"{file}:") for line in lines)


def test_what_is_submitted_has_the_files_inside(tmp_path: Path) -> None:
    """By the name that a step gives, as plain JSON; where each of many starts each of many it is
    said to be too much before it is written out."""
    plain = "  - {{id: s{n}, workflow: f{level}-{n}.yaml}}\n"
    for level in range(DEPTH_MAX + 1):
        is_last = level == DEPTH_MAX
        steps = "".join(plain.format(n=n, level=level + 1) for n in range(40))
        for n in range(40):
            (tmp_path / f"f{level}-{n}.yaml").write_text(HEAD + (STEP if is_last else steps))
    with pytest.raises(WorkflowInvalid, match="more than 4 MiB"):
        read_workflow(tmp_path / "f0-0.yaml", MODELS).bundle()
    bundle = read_workflow(tmp_path / "f2-0.yaml", MODELS).bundle()
    assert set(bundle["files"]) == {f"f3-{n}.yaml" for n in range(40)}
    assert bundle["files"]["f3-0.yaml"]["workflow"]["budget"] == [{"usd": "1.00"}, {"tokens": 1000}]
    assert len(read_bundle(json.loads(json.dumps(bundle))).files) == 40
