"""The command line: exit codes and messages that a person or a script can act on."""

from pathlib import Path

from typer.testing import CliRunner

from comptroller.cli import app
from comptroller.exits import USAGE_ERROR


def test_a_mistake_in_the_file_is_a_usage_error_that_names_its_line(tmp_path: Path) -> None:
    """`comptroller up` with a bad file exits with 2 and says where the mistake is."""
    config = tmp_path / "comptroller.yaml"
    config.write_text("port: 4000\nworker: 2\n")
    result = CliRunner().invoke(app, ["up", "--config", str(config)])
    assert result.exit_code == USAGE_ERROR
    assert "comptroller.yaml:2: unknown field 'worker'" in result.stderr
    assert "did you mean 'workers'" in result.stderr


def test_a_flag_wins_and_is_checked_like_the_file(tmp_path: Path) -> None:
    """A port that cannot be is refused wherever it comes from."""
    config = tmp_path / "comptroller.yaml"
    config.write_text("port: 4000\n")
    result = CliRunner().invoke(app, ["up", "--config", str(config), "--port", "70000"])
    assert result.exit_code == USAGE_ERROR
    assert "port must be from 1 to 65535" in result.stderr


def test_a_data_dir_that_is_too_deep_for_a_socket_is_said(tmp_path: Path) -> None:
    """The embedded ledger's socket path has a limit of the kernel's: the error says what to do."""
    deep = tmp_path / ("d" * 100)
    result = CliRunner().invoke(app, ["up", "--data-dir", str(deep)])
    assert result.exit_code == 1
    assert "choose a shorter --data-dir" in result.stderr
