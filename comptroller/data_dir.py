"""What lies where in the data dir, and who has it: one instance at a time, of a version that knows
what is in it."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from translator.hop import SOCKET_NAME

FORMAT = 1
"""Of everything in the folder. Raised when an older version could not read it any more; what the
records' own migrations and the ledger's scripts bring up to date is no reason."""


class DataDirRefused(RuntimeError):
    """The folder cannot be used by this process now; the message says what to do."""


def absolute(data_dir: str) -> Path:
    """The data dir as a setting names it."""
    return Path(data_dir).absolute()


def records_folder(data_dir: Path) -> Path:
    """The embedded engine's files."""
    return data_dir / "records"


def recorder_folder(data_dir: Path) -> Path:
    """Signing key, signed heads, disk spool."""
    return data_dir / "recorder"


def endings_folder(data_dir: Path) -> Path:
    """Settlements and releases that the ledger has not taken."""
    return data_dir / "endings"


def secret_file(data_dir: Path) -> Path:
    """What readers' passwords are derived from."""
    return data_dir / "records.secret"


def url_file(data_dir: Path) -> Path:
    """The address of the running recorder's HTTP port; absent while none runs."""
    return data_dir / "records.url"


def translator_socket(data_dir: Path) -> Path:
    """Where the translator listens for the gateway."""
    return data_dir / SOCKET_NAME


def declared_file(data_dir: Path) -> Path:
    """There once what the configuration declares is in the ledger: no part is ready before."""
    return data_dir / "declared"


def looked_up_file(data_dir: Path) -> Path:
    """What the lists said of the configuration's models when `up` started."""
    return data_dir / "prices.json"


def in_force_file(data_dir: Path) -> Path:
    """Which configuration is served by; absent while nothing runs."""
    return data_dir / "configuration.json"


def runs_file(data_dir: Path) -> Path:
    """The database of runs, where it is SQLite."""
    return data_dir / "runs.sqlite"


def runs_secret_file(data_dir: Path) -> Path:
    """What the keys of attempts are derived from, where it was made here."""
    return data_dir / "runs-secret"


def gateway_url_file(data_dir: Path) -> Path:
    """The base URL that SDKs are pointed at; absent while no gateway runs."""
    return data_dir / "gateway.url"


def admin_url_file(data_dir: Path) -> Path:
    """The address of the admin API; absent while none runs."""
    return data_dir / "admin.url"


def admin_token_file(data_dir: Path) -> Path:
    """The first admin token, if it was made here."""
    return data_dir / "admin-token"


def first_key_file(data_dir: Path) -> Path:
    """The secret of the first key, if it was made here."""
    return data_dir / "first-key"


def logs_folder(data_dir: Path) -> Path:
    """One file for each part, `<part>.log`."""
    return data_dir / "logs"


def kept_secret(file: Path, fresh: str) -> str:
    """The secret in the file; `fresh`, if there was none. For who has the folder. Raises
    DataDirRefused, OSError."""
    if not file.exists():
        _write(file, fresh)
    secret = file.read_bytes().decode("ascii", "replace").strip()
    if not (secret and secret.isascii() and secret.isprintable()):
        raise DataDirRefused(f"{file} holds no secret: delete it, then a new one is made")
    return secret


def _write(file: Path, text: str) -> None:
    """All of it or nothing, whenever the process or the machine ends; for the owner's eyes."""
    new = file.with_name(f"{file.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(descriptor)
    new.replace(file)


@contextlib.contextmanager
def held(data_dir: Path) -> Iterator[None]:
    """Makes the folder and has it for the block. Raises DataDirRefused, OSError."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
            raise DataDirRefused(
                f"another comptroller (process {holder}) uses {data_dir}: stop it, or choose "
                "another --data-dir"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        _check_format(data_dir)
        yield
    finally:
        os.close(descriptor)


def _check_format(data_dir: Path) -> None:
    file = data_dir / "format"
    if not file.exists():
        _write(file, str(FORMAT))
    found = file.read_text(encoding="ascii", errors="replace").strip()
    if found != str(FORMAT):
        raise DataDirRefused(
            f"{data_dir} was written by another version (format {found[:20]!r}, this one has "
            f"{FORMAT}): start the version that wrote it, or choose another --data-dir"
        )
