"""An environment for each client and example, of its own: what one pins never meets what another
does. They are kept in `.clients`, by the hash of what they were built from, and shared where that
is the same.
"""

import asyncio
import hashlib
import os
import shutil
import sys
from pathlib import Path

from tests.clients.catalogue import FOLDER

KEPT = FOLDER.parent.parent / ".clients"
INSTALL_S_MAX = 900
READY = ".ready"


class CannotBeInstalled(RuntimeError):
    """The message says whose word that is, and the word."""


async def environment_of(requirements: Path) -> Path:
    """The folder with its `bin`, built if need be, of a requirements.txt or package.json. Raises
    CannotBeInstalled."""
    folder = _folder_of(requirements)
    if not (folder / READY).exists():
        shutil.rmtree(folder, ignore_errors=True)  # half built, and a venv cannot be moved
        folder.mkdir(parents=True)
        build = _build_python if requirements.suffix == ".txt" else _build_node
        await build(folder, requirements)
        (folder / READY).touch()
    return folder


def _folder_of(requirements: Path) -> Path:
    digest = hashlib.sha256(sys.version.encode() + requirements.read_bytes()).hexdigest()
    return KEPT / f"{requirements.stem}-{digest[:16]}"


def binaries_of(environment: Path) -> Path:
    """The folder for PATH."""
    node = environment / "node_modules" / ".bin"
    return node if node.exists() else environment / "bin"


async def _build_python(folder: Path, requirements: Path) -> None:
    found = shutil.which("uv")
    uv = [found] if found else [sys.executable, "-m", "uv"]
    await _run(*uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(folder))
    python = str(folder / "bin" / "python")
    await _run(*uv, "pip", "install", "--quiet", "--python", python, "-r", str(requirements))


async def _build_node(folder: Path, requirements: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBeInstalled("npm is not here: install Node.js")
    shutil.copy(requirements, folder)
    await _run(npm, "install", "--no-audit", "--no-fund", "--no-package-lock", folder=folder)


async def _run(*command: str, folder: Path | None = None) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), INSTALL_S_MAX)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CannotBeInstalled(f"{Path(command[0]).name} took {INSTALL_S_MAX} s") from None
    if process.returncode:
        words = said.decode(errors="replace").strip()
        raise CannotBeInstalled(f"{Path(command[0]).name}: {words}")
