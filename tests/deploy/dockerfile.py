"""The Dockerfile and .dockerignore as a builder reads them, as far as ours use them."""

import fnmatch
import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent.parent
KNOWN = frozenset(
    (
        *("FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "VOLUME", "EXPOSE"),
        *("STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"),
    )
)


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction; `text` is what follows its name, continued lines joined."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """As the shell would split them, or the JSON form's."""
        if self.text.startswith("["):
            words = json.loads(self.text)
            assert isinstance(words, list)
            return words
        return shlex.split(self.text)

    @property
    def sources(self) -> list[str]:
        """Of a COPY: what is taken from the context; nothing where it is from a stage."""
        if any(word.startswith("--from=") for word in self.words):
            return []
        return [word for word in self.words if not word.startswith("--")][:-1]


@dataclass(slots=True)
class Stage:
    """From one FROM to the next."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def of(self, name: str) -> list[Step]:
        """The instructions of this name."""
        return [step for step in self.steps if step.name == name]

    def last(self, name: str) -> Step:
        """The one that counts."""
        return self.of(name)[-1]

    @property
    def environment(self) -> dict[str, str]:
        """All of ENV."""
        pairs = [word.partition("=") for step in self.of("ENV") for word in step.words]
        return {name: value for name, _, value in pairs}


def stages() -> list[Stage]:
    """In their order. An instruction that this does not know is an error."""
    found: list[Stage] = []
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    for line in filter(str.strip, joined.splitlines()):
        name, _, rest = line.partition(" ")
        assert name in KNOWN, f"unknown instruction {name}"
        if name == "FROM":
            base, _, alias = rest.partition(" AS ")
            found.append(Stage(base, alias))
        else:
            found[-1].steps.append(Step(name, rest.strip()))
    return found


def ignored(path: str) -> bool:
    """Whether .dockerignore keeps it from the builder: the last pattern that fits decides, and one
    that fits a folder fits all in it."""
    result = False
    for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines():
        pattern = line.strip()
        if pattern and not pattern.startswith("#"):
            excepts = pattern.startswith("!")
            if _fits(path, pattern.removeprefix("!")):
                result = not excepts
    return result


def _fits(path: str, pattern: str) -> bool:
    parts = PurePosixPath(path).parts
    tops = ["/".join(parts[: n + 1]) for n in range(len(parts))]
    if pattern.startswith("**/"):
        tail = pattern.removeprefix("**/")
        return any(fnmatch.fnmatch(part, tail) for part in parts)
    return any(
        top.count("/") == pattern.count("/") and fnmatch.fnmatch(top, pattern) for top in tops
    )
