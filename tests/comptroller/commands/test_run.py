"""`comptroller run`: a workflow that can run is shown with what it can cost, one that cannot is
exit 2 with a line for each reason; nothing is started, and it does without a stack."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from comptroller.commands.known_costs import with_costs
from comptroller.commands.run import call_ceiling
from comptroller.exits import USAGE_ERROR
from comptroller.settings import Settings, load_settings
from tests.comptroller.commands.forked import forked

WORKFLOW = """name: report
version: 2
budget: [{usd: "2.00"}]
defaults: {model: demo/small, retries: 0}
steps:
  - {id: write, needs: [plan, wait], python: "m:f"}
  - {id: plan, prompt: {text: x, max_tokens: 10}, foreach: [1, 2]}
  - {id: wait, sleep: 30d}
  - {id: check, needs: [write], command: [x], budget: [{usd: "0.25"}]}
"""
MODEL = "{{model_name: {name}, litellm_params: {{model: demo/{size}}}, model_info: {info}}}"
INFO = (
    "{{input_cost_per_token: {usd}, output_cost_per_token: {usd}, max_input_tokens: 1000, "
    "max_output_tokens: 100}}"
)


def file_of(folder: Path, text: str, name: str = "w.yaml") -> str:
    """Its path."""
    (folder / name).write_text(text)
    return str(folder / name)


def settings_of(folder: Path, more: str = "") -> Settings:
    """Three models: of 1,000, 2,000 and 3,000 nano-dollars a token."""
    models = [
        MODEL.format(name=name, size="small", info=INFO.format(usd=usd))
        for name, usd in (("cheap", "0.000001"), ("middle", "0.000002"), ("dear", "0.000003"))
    ]
    return load_settings(
        Path(file_of(folder, f"model_list: [{', '.join(models)}]\n{more}", "c.yaml")), {}
    )


async def test_a_workflow_that_can_run_is_shown(tmp_path: Path) -> None:
    """Its steps in an order in which they can run, the longest chain, and what it can cost."""
    file = file_of(tmp_path, WORKFLOW)
    ran = await forked("run", "check", file, "--json")
    assert ran.code == 0, ran.err
    document = ran.document
    assert (document["name"], document["version"]) == ("report", 2)
    steps = {each["id"]: each for each in document["steps"]}
    assert [(each["id"], each["level"]) for each in document["steps"]] == [
        *(("plan", 1), ("wait", 1), ("write", 2), ("check", 3))
    ]
    assert steps["write"]["needs"] == ["plan", "wait"]
    assert [steps[each]["bound_by"] for each in ("plan", "write", "check")] == [
        *("calls", "run", "budget")
    ]
    assert (steps["wait"]["ceiling_nusd"], steps["wait"]["kind"]) == (0, "sleep")
    assert (steps["check"]["ceiling_usd"], steps["check"]["ceiling_nusd"]) == ("0.25", 25 * 10**7)
    call = call_ceiling(load_settings(None, {}))("demo/small", 10)
    assert call is not None
    assert steps["plan"]["ceiling_nusd"] == 2 * call
    assert document["critical_path"] == ["plan", "write", "check"]
    assert (document["ceiling_usd"], document["ceiling_nusd"]) == ("2.00", 2 * 10**9)


async def test_people_read_a_table(tmp_path: Path) -> None:
    """A row for each step on stdout, the whole on stderr."""
    ran = await forked("run", "check", file_of(tmp_path, WORKFLOW))
    assert ran.code == 0, ran.err
    rows = [line.split("\t") for line in ran.out.splitlines()]
    assert rows[0][:4] == ["step", "kind", "level", "needs"]
    assert [row[0] for row in rows[1:]] == ["plan", "wait", "write", "check"]
    assert rows[4][-2:] == ["0.25", "its budget"]
    assert "longest chain: plan -> write -> check\n" in ran.err
    assert "a run costs at most 2.00 usd\n" in ran.err


def test_what_runs_have_cost_stands_beside_what_they_can() -> None:
    """Of a step that no run has spent anything in nothing; null where nobody knows, or none ran."""
    costs = {"p50_nusd": 1, "p50_usd": "0.000000001", "p95_nusd": 2, "p95_usd": "0.000000002"}
    document = {"steps": [{"id": "a"}, {"id": "b"}], "ceiling_nusd": 9}
    known = with_costs(document, {"runs": 3, "steps": [{"step": "a", **costs}], **costs})
    assert {name: known[name] for name in ("runs", "ceiling_nusd", *costs)} == {
        "runs": 3, "ceiling_nusd": 9, **costs
    }  # fmt: skip
    assert known["steps"][0] == {"id": "a", **costs}
    assert (known["steps"][1]["p95_nusd"], known["steps"][1]["p95_usd"]) == (0, "0.00")
    nothing = dict.fromkeys(costs)
    empty: dict[str, Any] = {"runs": 0, "steps": [], **nothing}
    for found in (None, empty):
        unknown = with_costs(document, found)
        assert unknown["steps"] == [{"id": "a", **nothing}, {"id": "b", **nothing}]
        assert unknown["runs"] == (0 if found else None)


async def test_a_stack_that_is_away_is_no_matter(tmp_path: Path) -> None:
    """Whatever the variables say, and without a word."""
    file = file_of(tmp_path, WORKFLOW)
    for url in ("http://127.0.0.1:1", "nonsense"):
        environment = {"COMPTROLLER_ADMIN_URL": url, "COMPTROLLER_ADMIN_TOKEN": "x"}
        ran = await forked("run", "check", file, "--json", environment=environment)
        assert (ran.code, ran.err) == (0, "")
        assert (ran.document["runs"], ran.document["p50_usd"]) == (None, None)


async def test_a_workflow_inside_costs_what_its_own_run_can(tmp_path: Path) -> None:
    """For each attempt; its own budget is one of the bounds."""
    inner = WORKFLOW.replace("report", "inner").replace("2.00", "0.10").replace("0.25", "0.01")
    file_of(tmp_path, inner, "inner.yaml")
    steps = "steps:\n  - {id: a, retries: 1, workflow: inner.yaml}\n"
    ran = await forked(
        "run", "check", file_of(tmp_path, WORKFLOW.split("steps:", maxsplit=1)[0] + steps), "--json"
    )
    assert ran.code == 0, ran.err
    assert (ran.document["steps"][0]["ceiling_usd"], ran.document["ceiling_usd"]) == ("0.20",) * 2


async def test_what_nothing_bounds_is_said(tmp_path: Path) -> None:
    """In words, and null in JSON."""
    file = file_of(tmp_path, WORKFLOW.replace('usd: "2.00"', "tokens: 5").replace("0.25", "0"))
    ran = await forked("run", "check", file)
    assert "a run costs what its other limits leave: none is in usd\n" in ran.err
    document = (await forked("run", "check", file, "--json")).document
    assert (document["ceiling_usd"], document["ceiling_nusd"]) == (None, None)
    write = next(each for each in document["steps"] if each["id"] == "write")
    assert (write["ceiling_usd"], write["bound_by"]) == (None, None)


@pytest.mark.parametrize("as_json", [(), ("--json",)])
async def test_what_cannot_run_is_a_usage_error_with_a_line_for_each_reason(
    tmp_path: Path, as_json: tuple[str, ...]
) -> None:
    """And the command to type again once they are mended; nothing on stdout."""
    broken = WORKFLOW.replace("wait]", "wiat]").replace("[x]", "[]").replace("30d", "30y")
    file = file_of(tmp_path, broken)
    ran = await forked("run", "check", file, *as_json)
    assert (ran.code, ran.out) == (USAGE_ERROR, "")
    *lines, last, _ = ran.err.splitlines()
    assert [line.split(": ", 1)[0] for line in lines] == [f"{file}:8", f"{file}:9"]
    assert last == f"comptroller: {file} cannot run, for the reasons above (2)"
    assert ran.next_command == f"comptroller run check {file}"
    ran = await forked("run", "check", file_of(tmp_path, WORKFLOW.replace("wait]", "wiat]")))
    assert f"{file}:6: write needs wiat, which is no step: did you mean wait?\n" in ran.err


async def test_the_models_are_those_of_the_configuration(tmp_path: Path) -> None:
    """Their aliases, too; the next command names the file of it."""
    config = tmp_path / "c.yaml"
    settings_of(tmp_path, "router_settings: {model_group_alias: {fast: cheap}}\n")
    file = file_of(tmp_path, WORKFLOW)
    ran = await forked("run", "check", file, "--config", str(config))
    assert ran.code == USAGE_ERROR
    assert f"{file}:4: demo/small is no model that may be asked: there is " in ran.err
    assert ran.next_command == f"comptroller run check {file} --config {config}"
    file_of(tmp_path, WORKFLOW.replace("demo/small", "fast"))
    ran = await forked("run", "check", file, "--config", str(config), "--json")
    assert ran.code == 0, ran.err
    assert ran.document["steps"][0]["ceiling_nusd"] == 2 * (1_000 + 10) * 1_000


async def test_a_broken_configuration_is_told_as_such(tmp_path: Path) -> None:
    """With its own file and line, before the workflow is looked at."""
    config = file_of(tmp_path, "port: 4000\nbugdets: {}\n", "c.yaml")
    ran = await forked("run", "check", file_of(tmp_path, "x"), "--config", config)
    assert ran.code == USAGE_ERROR
    assert "c.yaml:2: unknown field 'bugdets'" in ran.err


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """Its name, and exit 2."""
    ran = await forked("run", "check", str(tmp_path / "none.yaml"))
    assert ran.code == USAGE_ERROR
    assert "none.yaml: cannot be read: No such file" in ran.err


async def test_the_schema_is_printed() -> None:
    """As one JSON document, which is a schema."""
    ran = await forked("run", "schema")
    assert (ran.code, ran.err) == (0, "")
    jsonschema.Draft202012Validator.check_schema(ran.document)
    assert json.loads(ran.out)["$schema"].endswith("2020-12/schema")


@pytest.mark.parametrize(
    ("model", "cap", "usd_per_token"),
    [("cheap", 10, 1), ("dear", 10, 3), ("cheap", None, 1), ("none", 10, None)],
)
def test_a_call_costs_the_whole_window_and_its_cap(
    tmp_path: Path, model: str, cap: int | None, usd_per_token: int | None
) -> None:
    """Of 1,000 tokens in and 100 out; nobody knows what another model costs."""
    tokens = 1_000 + (100 if cap is None else cap)
    expected = None if usd_per_token is None else tokens * usd_per_token * 1_000
    assert call_ceiling(settings_of(tmp_path))(model, cap) == expected


@pytest.mark.parametrize(
    "rules",
    [
        "fallbacks: [{cheap: [middle, dear]}]",
        "default_fallbacks: [dear]",
        "context_window_fallbacks: [{cheap: [dear]}]",
        "content_policy_fallbacks: [{cheap: [dear]}]",
        "fallbacks: [{cheap: [best]}], model_group_alias: {best: dear}",
    ],
)
def test_a_call_costs_what_its_dearest_fallback_costs(tmp_path: Path, rules: str) -> None:
    """A model that fails at no cost is answered for by another, at that one's price."""
    ceiling = call_ceiling(settings_of(tmp_path, f"router_settings: {{{rules}}}\n"))
    assert ceiling("cheap", 10) == ceiling("dear", 10) == 1_010 * 3_000
