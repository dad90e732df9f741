"""`comptroller prices`: what models cost and requests have cost, and what is doubtful in a file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from comptroller import catalogued
from comptroller.cli import app
from comptroller.exits import FAILED, USAGE_ERROR
from tests.pricing.catalog.reading import vectors

FILE = """
model_list:
  - model_name: listed
    litellm_params: {model: openai/gpt-5-mini, api_key: k}
  - model_name: cheap
    litellm_params: {model: openai/gpt-5-mini, api_key: k}
    model_info: {input_cost_per_token: 0.0000001, output_cost_per_token: 0.000002}
  - model_name: dear
    litellm_params: {model: openai/gpt-5-mini, api_key: k}
    model_info: {input_cost_per_token: 0.001, output_cost_per_token: 0.002}
  - model_name: free
    litellm_params: {model: hosted_vllm/x, api_base: "http://127.0.0.1:9/v1"}
    model_info: {input_cost_per_token: 0, output_cost_per_token: 0,
                 max_input_tokens: 9, max_tokens: 9}
  - model_name: own
    litellm_params: {model: hosted_vllm/x, api_base: "http://127.0.0.1:9/v1"}
    model_info: {input_cost_per_token: 1e-7, output_cost_per_token: 0,
                 max_input_tokens: 9, max_tokens: 9}
  - model_name: differs
    litellm_params: {model: openai/x, api_base: "http://127.0.0.1:9/v1"}
    model_info: {base_model: mistral/mistral-large-latest}
  - model_name: demo
    litellm_params: {model: demo/small}
"""
ULTRAFAST = json.dumps({
    "provider": "openai", "model": "gpt-5-mini", "service_tier": "ultrafast",
    "usage": {"prompt_tokens": 1, "completion_tokens": 1},
})  # fmt: skip
UNPRICED = """
  - model_name: unknown
    litellm_params: {model: openai/gpt-5-minni, api_key: k}
"""


def run(*arguments: str, stdin: str = "") -> Result:
    """`comptroller prices ...`, in this process: the lists are read once."""
    return CliRunner().invoke(app, ["prices", *arguments], input=stdin)


def document(*arguments: str, stdin: str = "") -> Any:
    """Its answer as JSON."""
    ran = run(*arguments, "--json", stdin=stdin)
    assert ran.exit_code == 0, ran.output
    return json.loads(ran.stdout)


def complaint(ran: Result, code: int) -> tuple[str, str]:
    """(what it says, what to type next) of a command that has failed."""
    assert ran.exit_code == code, ran.output
    *_, said, following = ran.stderr.rstrip("\n").split("\n")
    assert following.startswith("try: ")
    return said, following.removeprefix("try: ")


@pytest.mark.parametrize("row", vectors(), ids=lambda row: f"{row['provider']}: {row['name']}")
def test_each_vector_costs_what_was_worked_out_by_hand(row: dict[str, Any]) -> None:
    """From the provider's name, the model's name and its own usage object, to the nano-dollar."""
    said = {"provider", "model", "usage", "service_tier", "batch", "region", "api", "output"}
    asked = {key: value for key, value in row.items() if key in said}
    asked["at"] = row.get("at") or f"{row['date']}T12:00:00Z"
    answer = document("cost", "-", stdin=json.dumps(asked))
    assert answer["cost_nusd"] == row["cost_nusd"]
    assert answer["meters"] == row["meters"]
    assert len(answer["price_version"]) == 12


def test_a_cost_needs_no_more_than_provider_model_and_usage(tmp_path: Path) -> None:
    """The API is guessed, the time is now, and a file is read as stdin is."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 50}
    text = json.dumps({"provider": "openai", "model": "gpt-5-mini", "usage": usage})
    answer = document("cost", "-", stdin=text)
    assert (answer["cost_nusd"], answer["cost_usd"]) == (350_000, "0.00035")
    file = tmp_path / "request.json"
    file.write_text(text)
    assert document("cost", str(file)) == answer
    assert "cost_usd\t0.00035" in run("cost", "-", stdin=text).stdout


@pytest.mark.parametrize(
    ("asked", "code", "says"),
    [
        ("{", USAGE_ERROR, "Expecting"),
        ("null", USAGE_ERROR, "null"),
        ("[]", USAGE_ERROR, "a JSON object"),
        ('{"provider": "openai", "usage": {}}', USAGE_ERROR, "model is a text"),
        ('{"provider": "openai", "model": "m", "usage": 1}', USAGE_ERROR, "usage object"),
        ('{"provider": "openai", "model": "m", "usage": {}, "tier": "x"}', USAGE_ERROR, "tier"),
        ('{"provider": "openai", "model": "m", "usage": {}, "batch": 1}', USAGE_ERROR, "batch"),
        ('{"provider": "openai", "model": "m", "usage": {}, "at": "now"}', USAGE_ERROR, "at"),
        ('{"provider": "openai", "model": "gpt-9x", "usage": {}}', FAILED, "gpt-9x"),
        ('{"provider": "hosted_vllm", "model": "m", "usage": {}}', FAILED, "model_info"),
        ('{"provider": "openai", "model": "gpt-5-mini", "usage": {}}', FAILED, ""),
        ('{"provider": "o", "model": "m", "usage": {}, "model_info": []}', USAGE_ERROR, "_info"),
        (ULTRAFAST, FAILED, "ultrafast"),
    ],
)
def test_what_has_no_cost_is_an_error_with_what_to_type(asked: str, code: int, says: str) -> None:
    """An unknown model, usage or tier is never nothing: the command fails and prints no number."""
    ran = run("cost", "-", "--json", stdin=asked)
    said, following = complaint(ran, code)
    assert says in said
    assert following.startswith("comptroller prices ")
    assert ran.stdout == ""


@pytest.mark.parametrize(
    ("region", "key"),
    [
        ("eu", "regional_processing_uplift_multiplier_eu"),
        ("fedramp", "fedramp_uplift_multiplier"),
        ("ap-southeast-1", "regional_endpoint_uplift_multiplier"),
    ],
)
def test_a_region_that_no_list_has_a_factor_for_is_an_error_that_names_the_key(
    region: str, key: str
) -> None:
    """It is never priced as anywhere else, in silence; with the key that is named it has a price,
    and 1 is one."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 50}
    asked: dict[str, Any] = {"provider": "mistral", "model": "mistral-large-latest", "usage": usage}
    plain_nusd = document("cost", "-", stdin=json.dumps(asked))["cost_nusd"]
    asked["region"] = region
    ran = run("cost", "-", "--json", stdin=json.dumps(asked))
    said, _ = complaint(ran, FAILED)
    assert f"give {key} in model_info" in said
    assert ran.stdout == ""
    for factor in (1, 2):
        asked["model_info"] = {key: factor}
        assert document("cost", "-", stdin=json.dumps(asked))["cost_nusd"] == factor * plain_nusd


def test_a_region_that_costs_no_more_by_a_list_has_a_price() -> None:
    """An explicit 1 is a factor."""
    usage = {"prompt_tokens": 1000, "completion_tokens": 50}
    asked = {"provider": "openai", "model": "gpt-5-mini", "usage": usage, "region": "eu"}
    assert document("cost", "-", stdin=json.dumps(asked))["cost_nusd"] == 350_000


def test_show_says_what_where_from_and_since_when() -> None:
    """Prices per million tokens for people, the exchange format for programs."""
    answer = document("show", "gpt-5-mini")
    assert answer["model_info"]["input_cost_per_token"] == "0.00000025"
    assert answer["confirmed_on"] == "2026-10-14"
    assert "genai-prices" in answer["source"]
    assert "litellm" in answer["source"]
    text = run("show", "openai/gpt-5-mini").stdout
    assert "input_cost_per_token\t0.25\t1M tokens" in text
    assert run("show", "gpt-5-mini", "--provider", "openai").stdout == text


def test_show_at_a_day_has_the_price_of_the_day() -> None:
    """As a date, or a time in UTC."""
    before = document("show", "deepseek/deepseek-v4-pro", "--at", "2026-08-16T15:59:59")
    after = document("show", "deepseek/deepseek-v4-pro", "--at", "2026-08-16T16:00")
    assert before["model_info"]["input_cost_per_token"] == "0.000000435"
    assert after["model_info"]["input_cost_per_token"] == "0.00000132"
    for never in ("yesterday", "9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+23:00"):
        complaint(run("show", "gpt-5-mini", "--at", never), USAGE_ERROR)


def test_show_tells_disagreements_and_the_nearest_name() -> None:
    """Both values and which counts; for a typo the command with the name that was meant."""
    text = run("show", "mistral/mistral-large-latest").stdout
    assert "genai-prices: 0.000002, litellm: 0.0000005; 0.000002 counts (dearer)" in text
    _, following = complaint(run("show", "gpt-5-minni"), FAILED)
    assert following == "comptroller prices show openai/gpt-5-mini"
    _, following = complaint(run("show", "gpt-5-minni", "--provider", "azure"), FAILED)
    assert following == "comptroller prices show gpt-5-mini --provider azure"


def test_show_of_what_cannot_be_priced_says_why() -> None:
    """A unit that nothing here counts is shown, and is no traceback."""
    answer = document("show", "perplexity/sonar-deep-research")
    assert answer["price_version"] is None
    assert "citation_cost_per_token" in answer["unusable"]
    assert "unusable\t" in run("show", "perplexity/sonar-deep-research").stdout


def test_check_says_the_worst_of_each_model(tmp_path: Path) -> None:
    """Listed, below the list, its own, free, disputed: one line each, in the order of the file."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(FILE)
    ran = run("check", "--config", str(file), "--json")
    assert ran.exit_code == 0, ran.output
    rows = {row["model"]: row for row in map(json.loads, ran.stdout.splitlines())}
    assert {name: row["state"] for name, row in rows.items()} == {
        "listed": "ok",
        "cheap": "cheaper than listed",
        "dear": "own price",
        "free": "free",
        "own": "own price",
        "differs": "lists disagree",
        "demo": "ok",
    }
    assert rows["cheap"]["says"] == "input $0.10 for $0.25 per 1M"
    assert rows["cheap"]["line"] == 5


def test_a_bound_that_can_be_wrong_is_said(tmp_path: Path) -> None:
    """By `prices check` and by `doctor`, of the model that opted in and of no other."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(
        "model_list:\n"
        "  - model_name: sure\n    litellm_params: {model: openai/gpt-5-mini, api_key: k}\n"
        "  - model_name: opted\n    litellm_params: {model: openai/gpt-5-mini, api_key: k}\n"
        "    model_info: {bound: calibrated}\n"
    )
    ran = run("check", "--config", str(file), "--json")
    said = {row["model"]: row["says"] for row in map(json.loads, ran.stdout.splitlines())}
    assert "bound: calibrated" in said["opted"]
    assert "calibrated" not in said["sure"]
    asked = ["doctor", "--config", str(file), "--data-dir", str(tmp_path), "--json"]
    ran = CliRunner().invoke(app, asked)
    found = [row for row in map(json.loads, ran.stdout.splitlines()) if row["check"] == "bound"]
    assert [(each["status"], "opted" in each["message"]) for each in found] == [("warn", True)]


def test_check_fails_where_a_model_has_no_price(tmp_path: Path) -> None:
    """And still says something of all the others, which `up` would not."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(FILE + UNPRICED)
    ran = run("check", "--config", str(file))
    said, following = complaint(ran, FAILED)
    assert "unknown" in said
    assert following == f"comptroller check --config {file}"
    assert "listed\topenai/gpt-5-mini\tok" in ran.stdout
    assert "gpt-5-mini" in next(line for line in ran.stdout.splitlines() if "unpriced" in line)


@pytest.mark.parametrize("text", ["", "budgets: {}\n", "model_list: 1\n", "model_list: [\n"])
def test_check_of_a_file_without_models_says_so(tmp_path: Path, text: str) -> None:
    """Nothing to check is no success."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(text)
    complaint(run("check", "--config", str(file)), USAGE_ERROR)
    complaint(run("check"), USAGE_ERROR)


def test_diff_lists_what_the_lists_differ_in() -> None:
    """Of one provider, with both values and the one that counts."""
    rows = [
        json.loads(line)
        for line in run("diff", "--provider", "mistral", "--json").stdout.splitlines()
    ]
    wanted = {"provider": "mistral", "model": "mistral-large-latest", "key": "input_cost_per_token"}
    [row] = [each for each in rows if wanted.items() <= each.items()]
    assert (row["genai-prices"], row["litellm"], row["taken"]) == (
        "0.000002",
        "0.0000005",
        "0.000002",
    )


def test_without_the_second_list_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One opinion is enough for prices; `check` names the command for a second one, and `diff` has
    nothing to compare."""
    alone = replace(catalogued.installed(), second=None)
    monkeypatch.setattr(catalogued, "installed", lambda: alone)
    file = tmp_path / "comptroller.yaml"
    file.write_text(FILE)
    ran = run("check", "--config", str(file))
    assert ran.exit_code == 0
    assert "pip install 'comptroller[litellm]'" in ran.stderr
    assert "pip install" in run("show", "gpt-5-mini").stderr
    _, following = complaint(run("diff"), FAILED)
    assert following == "pip install 'comptroller[litellm]'"
