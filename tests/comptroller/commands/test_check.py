"""`comptroller check`: what a file declares, and what in it can hardly be meant."""

import json
from pathlib import Path

import pytest

from comptroller.commands.declared import declared, warnings
from comptroller.exits import USAGE_ERROR
from comptroller.settings import load_settings
from tests.comptroller.commands.forked import forked
from tests.translator.standing import NEEDS_LITELLM

SECRET = "a-secret-of-some-length"
TEXT = """
model_list:
  - model_name: gpt-5-mini
    litellm_params: {model: openai/gpt-5-mini, api_base: os.environ/BASE, api_key: os.environ/KEY}
    model_info: {input_cost_per_token: 0.000001, output_cost_per_token: 0.000002,
                 max_input_tokens: 128000, max_output_tokens: 16384}
budgets:
  acme: [{usd: "100.00", window: month}]
  acme/research: {limits: [{requests: 600, window: minute}], per_child: [{usd: "0.50"}]}
keys:
  - {name: ci, scope: acme/research, models: ["gpt-5*"], expires_in: 30d, secret: os.environ/CI,
     delegates: true}
"""


async def test_it_prints_models_budgets_and_keys_but_no_secret(tmp_path: Path) -> None:
    """All that the file declares, exit 0; a secret is in no form of the output."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(TEXT)
    environment = {"BASE": "http://127.0.0.1:1/v1", "KEY": "sk-provider-0123456789", "CI": SECRET}
    ran = await forked("check", "--config", str(file), "--json", environment=environment)
    assert ran.code == 0, ran.err
    document = ran.document
    assert document["models"][0]["input_usd_per_mtok"] == "1.00"
    assert document["budgets"][1] == {
        "scope": "acme/research",
        "limits": [{"dimension": "requests", "window": "minute", "limit": 600}],
        "per_child": [{"dimension": "usd", "window": "total", "limit": "0.50"}],
    }
    assert document["keys"] == [
        {
            "name": "ci",
            "id": "key-ci",
            "scope": "acme/research",
            "models": ["gpt-5*"],
            "expires_in_ms": 30 * 86_400_000,
            "delegates": True,
        }
    ]
    assert document["warnings"] == []
    table = await forked("check", "--config", str(file), environment=environment)
    assert "acme/research\t600 requests per minute\t$0.50" in table.out
    for text in (ran.out, ran.err, table.out, table.err):
        assert SECRET not in text
        assert "sk-provider" not in text


async def test_variables_that_are_not_set_are_warnings_and_the_rest_is_checked(
    tmp_path: Path,
) -> None:
    """A file can be checked where its secrets are not; a mistake behind them is still found."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(TEXT)
    ran = await forked("check", "--config", str(file), "--json")
    assert ran.code == 0, ran.err
    missing = [each.split()[2] for each in ran.document["warnings"]]
    assert missing == ["BASE", "KEY", "CI"]
    file.write_text(f"{TEXT}    agnet: x\n")
    ran = await forked("check", "--config", str(file))
    assert ran.code == USAGE_ERROR
    assert ran.out == ""


async def test_what_the_file_sets_itself_is_not_missing(tmp_path: Path) -> None:
    """The rest of what it names is, and is checked."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(f"{TEXT}environment_variables: {{CI: {SECRET}}}\n")
    ran = await forked("check", "--config", str(file), "--json")
    assert ran.code == 0, ran.err
    assert [each.split()[2] for each in ran.document["warnings"]] == ["BASE", "KEY"]


@NEEDS_LITELLM
async def test_a_variable_that_may_be_there_is_not_missing(tmp_path: Path) -> None:
    """A Bedrock entry goes with the identity of the machine; Amazon's own key is one of several."""
    file = tmp_path / "comptroller.yaml"
    entry = "{model_name: nova, litellm_params: {model: bedrock/amazon.nova-pro-v1:0}}"
    file.write_text(f"model_list: [{entry}]\n")
    ran = await forked("check", "--config", str(file), "--json")
    assert ran.code == 0, ran.err
    assert "AWS_BEARER_TOKEN_BEDROCK" not in ran.out


async def test_a_mistake_is_a_usage_error_that_names_its_line(tmp_path: Path) -> None:
    """Exit 2 as `up` would, and the command to type once it is corrected."""
    file = tmp_path / "comptroller.yaml"
    file.write_text("port: 4000\nbugdets: {}\n")
    ran = await forked("check", "--config", str(file))
    assert ran.code == USAGE_ERROR
    assert "comptroller.yaml:2: unknown field 'bugdets'" in ran.err
    assert "did you mean 'budgets'?" in ran.err
    assert ran.next_command == f"comptroller check --config {file}"


async def test_a_variable_in_a_wrong_place_is_named(tmp_path: Path) -> None:
    """Where the stand-in of a missing variable cannot pass, the complaint says what is not set."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(TEXT.replace("openai/gpt-5-mini", "os.environ/MODEL"))
    ran = await forked("check", "--config", str(file))
    assert ran.code == USAGE_ERROR
    assert "not set in this environment: MODEL" in ran.err


@pytest.mark.parametrize(
    ("more", "doubt"),
    [
        ({"budgets": {"other": [{"usd": "1"}]}}, "budget other: no key declared here reaches it"),
        (
            {"keys": [{"name": "k", "scope": "third", "secret": SECRET}]},
            "key k: no budget at or above third: it can spend without end",
        ),
        (
            {
                "keys": [
                    {"name": "k", "scope": "a", "secret": SECRET, "models": ["gpt*"]},
                ],
                "budgets": {"a": [{"usd": "1"}]},
            },
            "key k: no priced model is called 'gpt*'",
        ),
        (
            {
                "keys": [{"name": "k", "scope": "a", "secret": SECRET}],
                "budgets": {"a": [{"usd": "1", "models": ["gpt*"]}]},
            },
            "budget a: no priced model is called 'gpt*'",
        ),
        (  # a template does not bind a key's own scope
            {
                "keys": [{"name": "k", "scope": "a", "secret": SECRET}],
                "budgets": {"a": {"per_child": [{"usd": "1"}]}},
            },
            "key k: no budget at or above a: it can spend without end",
        ),
    ],
)
def test_what_can_hardly_be_meant_is_a_warning(
    tmp_path: Path, more: dict[str, object], doubt: str
) -> None:
    """Each doubt by itself, and no other."""
    file = tmp_path / "comptroller.yaml"
    file.write_text(json.dumps(more))
    assert warnings(load_settings(file, {})) == [doubt]


@pytest.mark.parametrize(
    "budgets",
    [
        {"a": [{"usd": "1"}]},
        {"a/b": [{"usd": "1"}]},
        {"a": {"per_child": [{"usd": "1"}]}},
    ],
)
def test_a_key_below_a_budget_is_no_doubt(tmp_path: Path, budgets: dict[str, object]) -> None:
    """A limit of the scope, of one above it, or of the template above it."""
    file = tmp_path / "comptroller.yaml"
    keys = [{"name": "k", "scope": "a/b", "secret": SECRET}]
    file.write_text(json.dumps({"keys": keys, "budgets": budgets}))
    assert warnings(load_settings(file, {})) == []


def test_the_defaults_are_no_doubt() -> None:
    """Without a file: the demo models, with their prices."""
    settings = load_settings(None, {})
    assert warnings(settings) == []
    assert {each["name"] for each in declared(settings)["models"]} >= {"demo/small"}


def test_a_listed_model_gives_no_warning(tmp_path: Path) -> None:
    """Its list has fees of tools and regions, which every listed model has: a request that asks for
    one is refused, and nobody has to be told beforehand. Who writes such a fee is."""
    file = tmp_path / "comptroller.yaml"
    listed = (
        "model_list:\n  - {model_name: a, litellm_params: {model: openai/gpt-5-mini, api_key: k}"
    )
    file.write_text(listed + "}\n")
    assert warnings(load_settings(file, {})) == []
    own = "input_cost_per_token: 1e-6, output_cost_per_token: 1e-6, max_tokens: 9"
    fee = "max_input_tokens: 9, google_maps_grounding_cost_per_query: 1"
    file.write_text(f"{listed}, model_info: {{{own}, {fee}}}}}\n")
    assert "google_maps_grounding" in warnings(load_settings(file, {}))[0]
