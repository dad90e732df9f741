"""The documentation is checked: settings, error codes, commands and names that it gives exist."""

import re
from pathlib import Path

import typer
import yaml

import comptroller.cli
import gateway.errors
from clickhouse.migrate import load_migrations
from comptroller.options import OPTIONS
from comptroller.settings import load_settings

ROOT = Path(__file__).parent.parent
CONFIGURATION = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def test_every_setting_is_documented_with_its_variable_and_meaning() -> None:
    """A setting in the table of options has its row in docs/configuration.md, and no row is left
    of a setting that is gone."""
    row = re.compile(r"^\| `([\w.]+)` \| `(COMPTROLLER_\w+)` \|.*\| (.+) \|$", re.MULTILINE)
    rows = row.findall(CONFIGURATION)
    documented = {(name, variable, meaning) for name, variable, meaning in rows}
    prefixed = {
        (f"{each.section}.{each.name}" if each.section else each.name, each.variable, each.meaning)
        for each in OPTIONS
    }
    assert documented == prefixed


def test_every_error_code_is_documented() -> None:
    """Each code of the error tree stands in the table of answers with one of its statuses."""
    errors = [
        each
        for each in vars(gateway.errors).values()
        if isinstance(each, type) and issubclass(each, gateway.errors.GatewayError)
    ]
    assert errors
    for error in errors:
        assert f"`{error.code}`" in CONFIGURATION, error.__name__


def test_what_a_reload_does_not_take_of_the_gateway_is_documented() -> None:
    """docs/configuration.md names exactly these."""
    said = re.search(r"settings of\s`gateway` but (.*?)\. ", CONFIGURATION)
    assert said is not None
    fixed = {each.name for each in OPTIONS if each.section == "gateway" and each.needs_restart}
    assert set(re.findall(r"`(\w+)`", said[1])) == fixed


def _yaml_block(text: str) -> str:
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found.group(1)


def test_the_example_configurations_load(tmp_path: Path) -> None:
    """The configuration files shown in README.md and docs/configuration.md are accepted as they
    are, and declare what they show."""
    environment = {"OPENAI_API_KEY": "sk-not-a-real-key", "CI_KEY": "a-secret-of-some-length"}
    for document in ("README.md", "docs/configuration.md"):
        path = tmp_path / "comptroller.yaml"
        path.write_text(_yaml_block((ROOT / document).read_text(encoding="utf-8")))
        settings = load_settings(path, environment)
        declared = yaml.safe_load(path.read_text())
        assert [model.name for model in settings.models] == ["gpt-5.4-nano"]
        assert [scope for scope, _ in settings.budgets] == list(declared["budgets"])
        assert [key.name for key in settings.keys] == ["ci"]


def test_every_make_target_that_is_named_exists() -> None:
    """`make x` in the documentation is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^(\w+):", makefile, re.MULTILINE))
    for document in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        named = set(re.findall(r"\bmake ((?:\w+ ?)+)(?=\s*[`#\n])", text))
        for target in " ".join(named).split():
            assert target in targets, f"{document}: make {target}"


def test_every_relative_link_leads_somewhere() -> None:
    """A link from one document to another points at a file that is there."""
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


def test_every_table_that_is_documented_exists_and_no_other() -> None:
    """docs/records.md names all tables and views that the migrations make, but their own list."""
    text = (ROOT / "docs" / "records.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", text, re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    made = re.compile(r"CREATE (?:TABLE|VIEW) IF NOT EXISTS comptroller\.(\w+)")
    existing = {found[1] for each in load_migrations() if (found := made.search(each.text))}
    assert documented == existing - {"migrations"}


def test_every_command_that_is_documented_exists() -> None:
    """`comptroller x` in a document is a command, and its options are known to it."""
    commands = typer.main.get_command(comptroller.cli.app)
    assert isinstance(commands, typer.core.TyperGroup)
    call = re.compile(r"(?:`|^)comptroller ([a-z]+)([^`\n]*)", re.MULTILINE)
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for name, rest in call.findall(document.read_text(encoding="utf-8")):
            assert name in commands.commands, f"{document.name}: comptroller {name}"
            command = commands.commands[name]
            verb = rest.split()[0] if rest.split() else ""
            if isinstance(command, typer.core.TyperGroup) and verb:
                assert verb in command.commands, f"{document.name}: comptroller {name} {verb}"
                command = command.commands[verb]
            known = {
                option for each in command.params for option in (*each.opts, *each.secondary_opts)
            }
            for option in re.findall(r"(?<!\S)(--[a-z-]+)", rest):
                assert option in known, f"{document.name}: comptroller {name} {option}"


def test_every_test_that_is_cited_exists() -> None:
    """A guarantee names the file that shows it."""
    for document in (ROOT / "docs").rglob("*.md"):
        for path in re.findall(r"`(tests/[\w/]+\.py)`", document.read_text(encoding="utf-8")):
            assert (ROOT / path).exists(), f"{document.name}: {path}"
