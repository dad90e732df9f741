"""What a ledger's URL says: which servers, how they are found, and how they are spoken to.

The forms are few and each is read here once, so that what a setting accepts and what a transport
does with it cannot differ. Certificates are verified in every form: no option turns that off.
"""

import re
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

PORT = 6379
SENTINEL_PORT = 26379
SERVERS_MAX = 32
REPLICAS_MAX = 16
FORMS = (
    "redis://host:6379/0, rediss://host:6379/0, unix:///path, redis+cluster://host:6379,host:6379 "
    "or redis+sentinel://host:26379,host:26379/service (with TLS: rediss+cluster://, "
    "rediss+sentinel://)"
)
Kind = Literal["single", "cluster", "sentinel"]
_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([^\s\[\]:@,/?#]*))(?::([0-9]{1,5}))?")
_SERVICE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DATABASE = re.compile(r"[0-9]{0,4}")


class RedisUrlInvalid(ValueError):
    """It is none of the forms. The message never repeats it: it may hold a password."""


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """One URL. `servers` are host and port of the server, of some of the cluster's, or of the
    sentinels; empty for a unix socket. `replicas` must have a change of policy on their disks, too,
    before it is answered."""

    kind: Kind
    servers: tuple[tuple[str, int], ...] = ()
    unix_path: str = ""
    tls: bool = False
    username: str = ""
    password: str = field(default="", repr=False)
    database: int = 0
    service: str = ""
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    sentinel_username: str = ""
    sentinel_password: str = field(default="", repr=False)
    replicas: int = 0

    @property
    def is_plain(self) -> bool:
        """Whether it is one server without TLS, which the fast transport speaks to."""
        return self.kind == "single" and not self.tls and not self.replicas


def parse_redis_url(text: str) -> RedisUrl:
    """Reads a URL of one of FORMS. Raises RedisUrlInvalid."""
    try:
        url = urlsplit(text)
    except ValueError:
        raise _invalid() from None
    if url.scheme not in _SCHEMES or "#" in text:
        raise _invalid()
    kind, tls = _SCHEMES[url.scheme]
    if url.scheme == "unix":
        if url.netloc or "?" in text or len(url.path) < 2:
            raise _invalid()
        return RedisUrl("single", unix_path=url.path)
    if any(each.isspace() for each in text):
        raise _invalid()
    userinfo, _, hosts = url.netloc.rpartition("@")
    username, _, password = userinfo.partition(":")
    service, database = _path(kind, url.path)
    options = _options(url.query, kind, tls=tls)
    if bool(options.get("ssl_certfile")) != bool(options.get("ssl_keyfile")):
        raise RedisUrlInvalid("ssl_certfile and ssl_keyfile are given together, or neither")
    return RedisUrl(
        kind,
        _servers(hosts, kind),
        tls=tls,
        username=unquote(username),
        password=unquote(password),
        database=database,
        service=service,
        ca_file=options.get("ssl_ca_certs", ""),
        certificate_file=options.get("ssl_certfile", ""),
        key_file=options.get("ssl_keyfile", ""),
        sentinel_username=options.get("sentinel_username", ""),
        sentinel_password=options.get("sentinel_password", ""),
        replicas=_replicas(options.get("replicas", "0")),
    )


def _servers(hosts: str, kind: Kind) -> tuple[tuple[str, int], ...]:
    servers = []
    named = hosts.split(",")
    if len(named) > (1 if kind == "single" else SERVERS_MAX):
        raise _invalid()
    for each in named:
        found = _HOST.fullmatch(each)
        host = unquote(found[1] or found[2] or "") if found else ""
        if found is None or not (host or (kind == "single" and found[3])):
            raise _invalid()
        port = int(found[3] or (SENTINEL_PORT if kind == "sentinel" else PORT))
        if not 0 < port < 65536:
            raise _invalid()
        servers.append((host or "127.0.0.1", port))
    return tuple(servers)


def _path(kind: Kind, path: str) -> tuple[str, int]:
    """Service (of sentinels) and database (clusters have one only)."""
    service, _, database = path.removeprefix("/").rpartition("/")
    if kind == "sentinel" and not service:
        service, database = database, ""
    known = bool(_SERVICE.fullmatch(service)) == (kind == "sentinel")
    if not known or not _DATABASE.fullmatch(database) or (kind == "cluster" and int(database or 0)):
        raise _invalid()
    return service, int(database or 0)


def _options(query: str, kind: Kind, *, tls: bool) -> dict[str, str]:
    if not query:
        return {}
    known = (*(_TLS_OPTIONS if tls else ()), *(_SENTINEL_OPTIONS if kind == "sentinel" else ()))
    if tls or kind != "single":  # what the fast transport does not read is not accepted for it
        known += ("replicas",)
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True, max_num_fields=8)
    except ValueError:
        raise _invalid() from None
    options = dict(pairs)
    if len(options) < len(pairs) or not set(options) <= set(known):
        names = ", ".join(known) or "none"
        raise RedisUrlInvalid(f"options that redis_url has in this form, each once: {names}")
    return options


def _replicas(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,2}", text) or int(text) > REPLICAS_MAX:
        raise RedisUrlInvalid(f"replicas in redis_url is a number up to {REPLICAS_MAX}")
    return int(text)


def _invalid() -> RedisUrlInvalid:
    return RedisUrlInvalid(f"redis_url must be {FORMS}, or empty")
