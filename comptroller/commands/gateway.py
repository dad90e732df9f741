"""Where the gateway of this machine answers, and with which key the command line asks it."""

import os
from pathlib import Path
from urllib.parse import urlsplit

from comptroller.commands.outcome import CommandFailed
from comptroller.commands.records import settings_of
from comptroller.data_dir import absolute, first_key_file, gateway_url_file
from comptroller.exits import USAGE_ERROR
from comptroller.left import left_by_who_runs
from comptroller.variables import BASE_URL_VARIABLE, KEY_VARIABLE

_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # listened on, not reached at


def base_url(given: str, config: Path | None, data_dir: str | None) -> str:
    """As given, else what `up` left in the data dir, else by the settings; without a slash at its
    end. Raises CommandFailed (2)."""
    if given:
        return _checked(given)
    settings = settings_of(config, data_dir)
    folder = absolute(settings.data_dir)
    try:
        left = left_by_who_runs(gateway_url_file(folder), folder)
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFailed(f"{folder}: {error}", "comptroller doctor") from None
    if left:
        return _checked(left)
    host = _EVERYWHERE.get(settings.host, settings.host)
    return f"http://{f'[{host}]' if ':' in host and host[0] != '[' else host}:{settings.port}/v1"


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or set(url) & set(" \"'`$\\<>?#@"):
        raise CommandFailed(
            f"{url[:80]!r} is no URL of a gateway, as in http://127.0.0.1:4000/v1",
            f"export {BASE_URL_VARIABLE}=http://127.0.0.1:4000/v1",
            USAGE_ERROR,
        )
    return url.rstrip("/")


def key_secret(given: str, config: Path | None, data_dir: str | None) -> str:
    """As given (or in COMPTROLLER_KEY), else the first key of the data dir. Raises
    CommandFailed."""
    secret = given
    if not secret:
        settings = settings_of(config, data_dir)
        file = first_key_file(absolute(settings.data_dir))
        if not file.exists():
            raise CommandFailed(
                f"there is no key: neither in {KEY_VARIABLE} nor in {file}",
                f"export {KEY_VARIABLE}=...  # see comptroller key create --help",
                USAGE_ERROR,
            )
        secret = file.read_text(encoding="ascii", errors="replace").strip()
    if not (secret.isascii() and secret.isprintable() and " " not in secret):
        raise CommandFailed(
            "the key has characters that no key has", f"export {KEY_VARIABLE}=...", USAGE_ERROR
        )
    return secret


def is_loopback(url: str) -> bool:
    """Whether a URL leads to this machine: then never through a proxy."""
    host = (urlsplit(url).hostname or "").lower()
    return host in ("localhost", "::1") or host.startswith("127.")


def no_answer(url: str, error: Exception) -> CommandFailed:
    """The gateway could not be reached."""
    reason = str(error) or type(error).__name__
    return CommandFailed(f"no gateway answers at {url}: {reason}", _how_to_start())


def _how_to_start() -> str:
    return "comptroller doctor" if os.environ.get(BASE_URL_VARIABLE) else "comptroller up"
