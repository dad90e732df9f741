"""The Dockerfile as it is written: what it takes, what it leaves out, and what it says."""

import re
import tomllib

import pytest
from typer.testing import CliRunner

from comptroller.cli import app
from comptroller.settings import load_settings
from tests.deploy.dockerfile import ROOT, ignored, stages

BUILD, RUNTIME = stages()
PACKAGES = (
    "comptroller",
    "console",
    "gateway",
    "recorder",
    "budgets",
    "clickhouse",
    "translator",
    "pricing",
)
LEFT_OUT = ("numpy", "pandas", "pyarrow", "python-dateutil")


def test_every_source_is_there_and_reaches_the_builder() -> None:
    """What COPY names exists and is not ignored; of each package every file that a wheel has."""
    sources = [source for step in BUILD.of("COPY") for source in step.sources]
    assert sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert not ignored(source), source
    for package in PACKAGES:
        assert package in sources
        for path in (ROOT / package).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                assert not ignored(path.relative_to(ROOT).as_posix()), path


@pytest.mark.parametrize(
    "path",
    [
        *(
            ".git/config",
            ".venv/bin/python",
            ".comptroller/admin-token",
            ".env",
            "comptroller.yaml",
        ),
        *("tests/conftest.py", "gateway/__pycache__/app.pyc", "budgets/x.pyc", "Dockerfile"),
    ],
)
def test_nothing_else_reaches_the_builder(path: str) -> None:
    """Neither secrets that may lie about, nor what the image is not made of."""
    assert ignored(path)


def test_no_layer_keeps_a_secret_or_a_cache() -> None:
    """No secret comes in by ARG, ENV or ADD; every pip leaves no cache, and takes what has a hash
    or what was built here."""
    names = {step.name for stage in (BUILD, RUNTIME) for step in stage.steps}
    assert not names & {"ARG", "ADD"}
    variables = [*BUILD.environment, *RUNTIME.environment]
    assert not [each for each in variables if re.search("KEY|TOKEN|SECRET|PASSWORD", each)]
    calls = [
        call
        for stage in (BUILD, RUNTIME)
        for step in stage.of("RUN")
        for call in step.text.split("&&")
        if "/pip " in call
    ]
    assert len(calls) == 4
    for call in calls:
        assert "--no-cache-dir" in call
        assert "--require-hashes" in call or "--no-index" in call


def test_it_runs_as_nobody_in_particular_and_keeps_its_data() -> None:
    """Both stages stand on the same tag; the user is a number and not root, the folder that it
    writes is the volume; SIGTERM stops it; nothing but the data plane's port is named."""
    assert BUILD.base == RUNTIME.base == "python:3.11-slim-bookworm"
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", RUNTIME.last("USER").text)
    assert RUNTIME.last("VOLUME").text == RUNTIME.environment["COMPTROLLER_DATA_DIR"]
    assert RUNTIME.last("STOPSIGNAL").text == "SIGTERM"
    assert RUNTIME.last("EXPOSE").text == "4000"
    order = [step.name for step in RUNTIME.steps]
    assert order.index("USER") > order.index("RUN")


def test_what_it_sets_are_settings() -> None:
    """The data plane listens on all addresses, the admin API only inside; the health check asks
    the port that is the default."""
    settings = load_settings(None, RUNTIME.environment)
    assert (settings.host, settings.admin_host) == ("0.0.0.0", "127.0.0.1")
    assert settings.data_dir == "/data"
    assert RUNTIME.environment["HEALTH_URL"] == f"http://127.0.0.1:{settings.port}/readyz"


def test_the_entry_point_is_a_command() -> None:
    """ENTRYPOINT and CMD are the installed command and one that it has; roles go behind it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (entry,) = RUNTIME.last("ENTRYPOINT").words
    assert entry in project["scripts"]
    assert CliRunner().invoke(app, [*RUNTIME.last("CMD").words, "--help"]).exit_code == 0


def locked(name: str) -> dict[str, str]:
    """Package -> version of a lock, in which everything else is a hash."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", "")
    found = {}
    for line in text.splitlines():
        package = re.fullmatch(r"([a-z0-9-]+)==([\w.!+]+)((?: +--hash=sha256:[0-9a-f]{64})+)", line)
        assert package, f"{name}: {line[:80]}"
        found[package[1]] = package[2]
    return found


def test_the_image_is_made_of_what_the_tests_run_with() -> None:
    """Each lock has names, versions and hashes only, and each version is that of
    requirements.lock; all that the project depends on is there; `make lock` makes all three."""
    tested = locked("requirements.lock")
    runtime, build = locked("requirements.runtime.lock"), locked("requirements.build.lock")
    assert runtime.items() <= tested.items()
    assert build.items() <= tested.items()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = {re.split(r"[><=!~[]", each)[0] for each in project["dependencies"]}
    assert wanted <= runtime.keys()
    assert "hatchling" in build
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for name in ("requirements.lock", "requirements.runtime.lock", "requirements.build.lock"):
        assert f"--output-file {name}" in makefile


def test_what_is_left_out_is_imported_nowhere() -> None:
    """No package of ours imports what the runtime lock leaves out, and the lock leaves out no
    more than that."""
    runtime = locked("requirements.runtime.lock")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (named,) = re.findall(r"^NEVER_IMPORTED := (.+)$", makefile, re.MULTILINE)
    assert tuple(named.split()) == LEFT_OUT
    assert not set(LEFT_OUT) & runtime.keys()
    imports = re.compile(r"^\s*(?:import|from) (?:numpy|pandas|pyarrow|dateutil)\b", re.MULTILINE)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            assert not imports.search(path.read_text(encoding="utf-8")), path
