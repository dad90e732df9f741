"""docs/deploy.md and the systemd unit: what they say is so in the code."""

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import redis
import typer
from typer.core import TyperGroup

import comptroller.cli
from budgets.embedded import EmbeddedServer
from comptroller import variables
from comptroller.commands.start import Only
from comptroller.exits import USAGE_ERROR
from comptroller.options import OPTIONS
from comptroller.settings import load_settings
from comptroller.supervise import STOP_S_MAX
from tests.deploy.dockerfile import ROOT, stages

GUIDE = (ROOT / "docs" / "deploy.md").read_text(encoding="utf-8")
UNIT = ROOT / "deploy" / "comptroller.service"
USAGE = typer.BadParameter.__base__ or Exception
DATA_DIR = "/var/lib/comptroller"


def unit() -> configparser.SectionProxy:
    """Its [Service] section; nothing of what is read here stands there twice."""
    parser = configparser.ConfigParser(interpolation=None, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # names keep their case
    parser.read_string(UNIT.read_text(encoding="utf-8"))
    return parser["Service"]


def accepted(words: list[str]) -> str:
    """The command that `comptroller` finds in these words, whose options and arguments they are;
    it is not run. Raises typer's UsageError, of which BadParameter is one."""
    command = typer.main.get_command(comptroller.cli.app)
    rest = list(words)
    while isinstance(command, TyperGroup):
        if rest[0] not in command.commands:
            raise typer.BadParameter(rest[0])
        command = command.commands[rest.pop(0)]
    command.make_context(command.name or "", rest)
    return command.name or ""


def commands() -> list[list[str]]:
    """Every `comptroller ...` of the guide: in its blocks, its tables, and behind `docker exec`."""
    code = re.findall(r"^(?:docker exec comptroller )?(comptroller .+)$", GUIDE, re.MULTILINE)
    code += re.findall(r"`(comptroller [^`]+)`", GUIDE)
    return [shlex.split(each)[1:] for each in code]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_of_the_guide_is_accepted(words: list[str]) -> None:
    """With its options and arguments, as it stands."""
    accepted(words)


def test_a_command_that_is_none_would_be_found() -> None:
    """The check above can fail."""
    for words in (["up", "--only", "console"], ["key", "make"], ["up", "--replicas", "2"]):
        with pytest.raises(USAGE):
            accepted(words)
    assert ["up", "--only", "gateway"] in commands()
    assert len(commands()) >= 6


def test_every_part_has_its_row() -> None:
    """The parts that can run alone are those of the table."""
    rows = re.findall(r"\| `comptroller up --only (\w+)` \|", GUIDE)
    assert sorted(rows) == sorted(Only)


def test_every_variable_of_the_guide_is_known() -> None:
    """A COMPTROLLER_* is a setting, or a variable of the command line; others are the image's."""
    named = set(re.findall(r"\b(COMPTROLLER_[A-Z_]+|HEALTH_URL)\b", GUIDE))
    of_commands = {each for name, each in vars(variables).items() if name.endswith("_VARIABLE")}
    known = {option.variable for option in OPTIONS} | of_commands
    assert named - known == {"HEALTH_URL"}
    assert "HEALTH_URL" in stages()[-1].environment
    assert "COMPTROLLER_REDIS_URL" in named


def test_the_redis_that_it_asks_for_is_the_embedded_one(valkey: EmbeddedServer) -> None:
    """What the guide wants of a Redis, the embedded server has."""
    wanted = re.search(r"started with:\s+(`.+?`)\. ClickHouse", GUIDE, re.DOTALL)
    assert wanted
    pairs = re.findall(r"`(\S+) (\S+)`", wanted[1])
    assert len(pairs) == 3
    with redis.Redis(unix_socket_path=str(valkey.socket_path), decode_responses=True) as client:
        for name, value in pairs:
            assert client.config_get(name) == {name: value}


def test_the_unit_starts_what_the_command_line_accepts() -> None:
    """ExecStart is a command of ours with options that it has; its folder is what the unit lets it
    write; what cannot be used is not tried again."""
    service = unit()
    program, *words = shlex.split(service["ExecStart"])
    assert Path(program).name == "comptroller"
    assert program.startswith("/opt/comptroller/bin/")
    assert accepted(words) == "up"
    reload, *again = shlex.split(service["ExecReload"])
    assert (reload, accepted(again)) == (program, "reload")
    name, _, value = service["Environment"].partition("=")
    settings = load_settings(None, {name: value})
    assert settings.data_dir == DATA_DIR == f"/var/lib/{service['StateDirectory']}"
    assert service["WorkingDirectory"] == DATA_DIR
    assert service["RestartPreventExitStatus"] == str(USAGE_ERROR)
    assert words[words.index("--config") + 1] in GUIDE


def test_the_unit_waits_for_what_it_stops() -> None:
    """systemd kills later than the supervisor does: gateways and admin API, then recorder, then
    ledger; until then only the supervisor is told."""
    service = unit()
    assert (service["KillMode"], service["KillSignal"]) == ("mixed", "SIGTERM")
    stop_s = int(service["TimeoutStopSec"].removesuffix("min")) * 60
    drain_s = load_settings(None, {}).gateway.drain_ms / 1000
    assert stop_s >= 2 * (STOP_S_MAX + drain_s) + STOP_S_MAX
    found = re.search(r"--stop-timeout (\d+)", GUIDE)
    assert found
    assert int(found[1]) == stop_s


def test_the_unit_has_no_privilege() -> None:
    """A user of its own, no capability, a file system that it cannot write."""
    service = unit()
    assert service["User"] == service["Group"] == "comptroller"
    assert service["CapabilityBoundingSet"] == ""
    assert (service["NoNewPrivileges"], service["ProtectSystem"]) == ("yes", "strict")
    assert (service["StateDirectoryMode"], service["UMask"]) == ("0700", "0077")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_reads_the_unit(tmp_path: Path) -> None:
    """systemd itself knows every name and value in it; only that the program is not installed here
    is put right first."""
    copy = tmp_path / "comptroller.service"
    text = UNIT.read_text(encoding="utf-8")
    copy.write_text(text.replace("/opt/comptroller/bin/comptroller", "/bin/true"))
    ran = subprocess.run(
        ["systemd-analyze", "verify", copy], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")
