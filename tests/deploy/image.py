"""The Dockerfile's steps without an engine: each RUN is run, each COPY copied, in a folder that
stands for `/`, and the entry point started as the image's user where that is possible."""

import asyncio
import os
import re
import shutil
import subprocess
import venv
from collections.abc import Mapping
from pathlib import Path

from tests.deploy.dockerfile import ROOT, Step, ignored, stages

RUN_S_MAX = 240
READY_S_MAX = 60
STOPPED_S_MAX = 60
# May look into every folder, as the image's interpreter is where the image's user may look, while
# this machine's may be in somebody's home; may write nowhere but where its user may.
_CAPABILITY = "-all,+dac_read_search"
_OWN_PATHS = re.compile(r"(?<![\w.])/(build|opt/comptroller|data)\b")


def can_be_another_user() -> bool:
    """Whether the tests may start something as the image's user."""
    return os.geteuid() == 0 and shutil.which("setpriv") is not None


class Image:
    """What the steps make below `folder`, and how it is started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._build, self._runtime = stages()

    @property
    def user(self) -> int:
        """Whom it runs as."""
        return int(self._runtime.last("USER").text.partition(":")[0])

    @property
    def entry(self) -> list[str]:
        """ENTRYPOINT and CMD."""
        return self._runtime.last("ENTRYPOINT").words + self._runtime.last("CMD").words

    @property
    def health(self) -> list[str]:
        """The command of HEALTHCHECK."""
        return Step("CMD", self._runtime.last("HEALTHCHECK").text.partition("CMD ")[2]).words

    def build(self) -> None:
        """All steps of both stages, in order."""
        base = self.folder / "base"  # the python of the base image: with pip, without packages
        venv.create(base, with_pip=True)
        environment = {**os.environ, "PATH": f"{base / 'bin'}:{os.environ['PATH']}"}
        for stage in (self._build, self._runtime):
            folder = self.folder
            for step in stage.steps:
                match step.name:
                    case "WORKDIR":
                        folder = Path(self._here(step.text))
                        folder.mkdir(parents=True, exist_ok=True)
                    case "COPY":
                        _copy(step, folder)
                    case "RUN" if stage is self._build or can_be_another_user():
                        self._run(step, folder, environment)
        self.data.mkdir(exist_ok=True)  # where its step would need another user

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """What the image sets, and what `docker run --env` adds; nothing of this machine's."""
        own = {name: self._here(value) for name, value in self._runtime.environment.items()}
        return {**own, **more}

    async def start(
        self, command: list[str], environment: Mapping[str, str], output: int
    ) -> asyncio.subprocess.Process:
        """A command in the image, as its user; what it prints goes where `output` says."""
        found = shutil.which(command[0], path=environment["PATH"])
        assert found is not None, command[0]
        return await asyncio.create_subprocess_exec(
            *(*self._as_its_user(), found, *command[1:]),
            env=dict(environment),
            cwd=self.data,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=asyncio.subprocess.STDOUT,
        )

    async def run(self, command: list[str], environment: Mapping[str, str]) -> tuple[int, bytes]:
        """The same to its end: its exit code, and what it printed."""
        process = await self.start(command, environment, asyncio.subprocess.PIPE)
        printed, _ = await asyncio.wait_for(process.communicate(), READY_S_MAX)
        assert process.returncode is not None
        return process.returncode, printed

    def _as_its_user(self) -> list[str]:
        if not can_be_another_user():
            return []
        user, _, group = self._runtime.last("USER").text.partition(":")
        return [
            *("setpriv", "--reuid", user, "--regid", group, "--clear-groups", "--no-new-privs"),
            *("--inh-caps", _CAPABILITY, "--ambient-caps", _CAPABILITY),
            *("--bounding-set", _CAPABILITY),
        ]

    def _run(self, step: Step, folder: Path, environment: Mapping[str, str]) -> None:
        ran = subprocess.run(
            ["sh", "-c", self._here(step.text)],
            cwd=folder,
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=RUN_S_MAX,
            check=False,
        )
        assert ran.returncode == 0, f"RUN {step.text}\n{ran.stdout}{ran.stderr}"

    def _here(self, text: str) -> str:
        return _OWN_PATHS.sub(lambda found: f"{self.folder}/{found[1]}", text)


def _copy(step: Step, folder: Path) -> None:
    """Of the context. What comes from the other stage is already where it belongs."""
    target = folder / step.words[-1]
    for source in step.sources:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=_ignored_names)
        else:
            shutil.copy2(ROOT / source, target)


def _ignored_names(parent: str, names: list[str]) -> set[str]:
    inside = Path(parent).relative_to(ROOT)
    return {name for name in names if ignored((inside / name).as_posix())}


def written_outside(image: Image, since: float) -> list[Path]:
    """Files of the image's user where none may be: in what it runs from, and where all may
    write."""
    inside = (image.folder / "opt").rglob("*")
    shared = (path for name in ("/tmp", "/var/tmp", "/dev/shm") for path in Path(name).iterdir())
    return [path for path in (*inside, *shared) if _is_of(path, image.user, since)]


def _is_of(path: Path, user: int, since: float) -> bool:
    try:
        told = path.lstat()
    except FileNotFoundError:  # it was somebody else's, for a moment
        return False
    return told.st_uid == user and told.st_mtime >= since
