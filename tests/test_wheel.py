"""A wheel built from this tree and installed elsewhere works: an editable install hides what the
wheel forgot, because it puts the whole repository on the path."""

import json
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
SMOKE = """
import asyncio, json, pathlib, sys, tempfile
import comptroller, gateway, budgets, pricing
from budgets.embedded import EmbeddedServer
from comptroller.declare import declare
from comptroller.parts import Worker, open_session
from comptroller.settings import load_settings

async def main():
    with tempfile.TemporaryDirectory() as folder:
        server = EmbeddedServer(pathlib.Path(folder))
        server.start()
        try:
            url = f"unix://{server.socket_path}"
            settings = load_settings(None, {"COMPTROLLER_REDIS_URL": url})
            session = open_session(settings)
            await session.open_organisation("acme", create=True)
            Worker(settings)
            await session.transport.close()
        finally:
            server.stop()

asyncio.run(main())
print(json.dumps([each.__file__ for each in (comptroller, gateway, budgets, pricing)]))
"""


def test_an_installed_wheel_starts_a_ledger_and_builds_a_gateway(tmp_path: Path) -> None:
    """The wheel carries every package and every script; from a clean environment it opens a ledger
    with the real scripts, builds a gateway, and its command answers."""
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    packed = set(zipfile.ZipFile(wheel).namelist())
    for package in (
        "comptroller",
        "console",
        "gateway",
        "recorder",
        "budgets",
        "clickhouse",
        "translator",
        "pricing",
    ):
        for path in (ROOT / package).rglob("*"):
            if path.suffix in (".py", ".lua", ".sql", ".txt", ".html"):
                assert path.relative_to(ROOT).as_posix() in packed
    environment = tmp_path / "venv"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel],
        check=True,
        capture_output=True,
    )
    # Dependencies come from this environment; a .pth inside a folder that a .pth names is not
    # read, so the editable install of this repository stays out.
    (site,) = environment.glob("lib/*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    ran = subprocess.run(
        [python, "-c", SMOKE], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    for file in json.loads(ran.stdout):
        assert Path(file).is_relative_to(environment)
    help_text = subprocess.run(
        [environment / "bin" / "comptroller", "up", "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=tmp_path,
    ).stdout
    assert "--config" in help_text
