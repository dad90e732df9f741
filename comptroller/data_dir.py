"""What lies where in the data dir, and how the recorder says that it is ready."""

from pathlib import Path

READY_LINE = "recording"


def absolute(data_dir: str) -> Path:
    """The data dir as a setting names it."""
    return Path(data_dir).absolute()


def records_folder(data_dir: Path) -> Path:
    """The embedded engine's files."""
    return data_dir / "records"


def recorder_folder(data_dir: Path) -> Path:
    """Signing key, signed heads, disk spool."""
    return data_dir / "recorder"


def secret_file(data_dir: Path) -> Path:
    """What readers' passwords are derived from."""
    return data_dir / "records.secret"


def url_file(data_dir: Path) -> Path:
    """The address of the running recorder's HTTP port; absent while none runs."""
    return data_dir / "records.url"
