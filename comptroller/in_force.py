"""Which configuration a running stack serves by, left in its data dir for `comptroller doctor`:
whether the file was changed since, and what became of the last reload. Of its text only a digest.
"""

import codecs
import hashlib
from pathlib import Path

import msgspec

from comptroller.channel import Configuration
from comptroller.data_dir import in_force_file


class InForce(msgspec.Struct, frozen=True):
    """`version` counts from 1, at the start; `refused` says why the last reload was, empty where it
    was not."""

    file: str
    sha256: str
    version: int
    refused: str = ""

    @property
    def is_changed(self) -> bool:
        """Whether the file says something else by now. Raises OSError."""
        content = Path(self.file).read_bytes().removeprefix(codecs.BOM_UTF8)
        return _digest(content) != self.sha256


def write_in_force(data_dir: Path, told: Configuration, refused: str = "") -> None:
    """Nothing where there is no file. Raises OSError."""
    if told.written is None:
        return
    digest = _digest(told.written.text.encode())
    found = InForce(told.written.file, digest, told.version, refused)
    path = in_force_file(data_dir)
    new = path.with_name(f"{path.name}.new")
    new.touch(mode=0o600)
    new.write_bytes(msgspec.json.encode(found))
    new.replace(path)


def read_in_force(data_dir: Path) -> InForce | None:
    """None where there is none, or it cannot be read."""
    try:
        return msgspec.json.decode(in_force_file(data_dir).read_bytes(), type=InForce)
    except (OSError, msgspec.MsgspecError):
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
