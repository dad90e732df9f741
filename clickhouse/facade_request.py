"""What a client of ClickHouse's HTTP protocol sends, read once, bounded, hostile until checked.

The protocol: https://clickhouse.com/docs/interfaces/http. A query is in `query=`, in the body, or
begins in one and goes on in the other; drivers with many parameters send a multipart form.
"""

import binascii
import re
import uuid
from base64 import b64decode
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from email.parser import BytesParser
from email.policy import HTTP
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clickhouse.compression import decompressed, too_large
from clickhouse.errors import Code, StoreRefused

ASGIMessage = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[ASGIMessage]]
Send = Callable[[ASGIMessage], Awaitable[None]]
Scope = MutableMapping[str, Any]

URL_BYTES_MAX = 64 * 1024
FIELDS_MAX = 300
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_QUERY_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class ClientGone(Exception):
    """The client closed its connection before its request was whole."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """As sent."""

    user: str
    password: str


class HttpRequest:
    """One request; header names in lower case. Properties raise StoreRefused."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self._query_string: bytes = scope["query_string"]
        self.is_read = False  # the whole body has come
        self._receive = receive
        self._headers: dict[str, str] = {}
        self._repeated: set[str] = set()
        for raw_name, raw_value in scope["headers"]:
            name = raw_name.decode("latin-1")
            if name in self._headers:
                self._repeated.add(name)
            self._headers[name] = raw_value.decode("latin-1")

    def header(self, name: str) -> str:
        """ "" where there is none."""
        return self._headers.get(name, "")

    @cached_property
    def fields(self) -> Mapping[str, str]:
        """The URL's fields. One that is there twice is refused: two readers of a request would
        read it differently."""
        if len(self._query_string) > URL_BYTES_MAX:
            raise StoreRefused(
                Code.QUERY_IS_TOO_LARGE,
                f"a URL is at most {URL_BYTES_MAX} bytes long: send the query as the body",
            )
        try:
            pairs = parse_qsl(
                self._query_string.decode("ascii"),
                keep_blank_values=True,
                max_num_fields=FIELDS_MAX,
                errors="strict",
            )
        except ValueError:
            raise StoreRefused(Code.BAD_ARGUMENTS, "the URL's fields cannot be read") from None
        return _unique(pairs)

    @cached_property
    def query_id(self) -> str:
        """The client's own, where it has one that fits into a header."""
        given = self.fields.get("query_id", "")
        return given if _QUERY_ID.fullmatch(given) else str(uuid.uuid4())

    def check_host(self, hosts: frozenset[str]) -> bool:
        """Whether it was sent to us, not to a name that an attacker had resolve to here (DNS
        rebinding), and from no page of another site."""
        if "host" in self._repeated or "origin" in self._repeated:
            return False
        origin = self.header("origin")
        if origin and urlsplit(origin).hostname not in hosts:
            return False
        return _host_name(self.header("host")) in hosts

    def credentials(self) -> Credentials | None:
        """From one place only, as ClickHouse demands; None without any."""
        found = []
        authorization = self.header("authorization")
        if authorization:
            found.append(_basic(authorization))
        if "x-clickhouse-user" in self._headers or "x-clickhouse-key" in self._headers:
            found.append(
                Credentials(self.header("x-clickhouse-user"), self.header("x-clickhouse-key"))
            )
        if "user" in self.fields or "password" in self.fields:
            fields = self.fields
            found.append(Credentials(fields.get("user", ""), fields.get("password", "")))
        if len(found) > 1 or self._repeated & {
            "authorization",
            "x-clickhouse-user",
            "x-clickhouse-key",
        }:
            raise StoreRefused(
                Code.AUTHENTICATION_FAILED,
                "send user and password in one way: Authorization, X-ClickHouse-User and -Key, "
                "or user= and password=",
            )
        return found[0] if found else None

    async def body(self, bytes_max: int) -> bytes:
        """The whole body, decompressed. Raises StoreRefused, ClientGone."""
        length = self.header("content-length")
        if length and (not length.isdigit() or len(length) > 18 or int(length) > bytes_max):
            raise too_large(bytes_max)
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            piece: bytes = message.get("body", b"")
            size += len(piece)
            if size > bytes_max:
                raise too_large(bytes_max)
            pieces.append(piece)
            more = message.get("more_body", False)
        self.is_read = True
        return decompressed(b"".join(pieces), self.header("content-encoding").lower(), bytes_max)

    async def until_gone(self) -> None:
        """Ends when the client has closed its connection. For after the body was read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    def asked(self, body: bytes) -> tuple[Mapping[str, str], bytes]:
        """All fields, and the statement with what follows it."""
        fields = self.fields
        if self.header("content-type").lower().startswith("multipart/form-data"):
            form = _form(self.header("content-type"), body)
            fields = _unique([*fields.items(), *form.items()])
            body = b""
        head = fields.get("query", "").encode("utf-8", "surrogateescape")
        return fields, head + b"\n" + body if head and body else head or body


def _unique(pairs: list[tuple[str, str]]) -> Mapping[str, str]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise StoreRefused(Code.BAD_ARGUMENTS, "a field is there twice")
    return fields


def _host_name(header: str) -> str:
    """The name of a Host header without its port, "" if it is none."""
    if header.startswith("["):
        name, bracket, port = header[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return ""
        port = port[1:]
    else:
        name, _, port = header.partition(":")
    return name.lower().removesuffix(".") if not port or port.isdigit() else ""


def _basic(authorization: str) -> Credentials:
    scheme, _, encoded = authorization.partition(" ")
    try:
        user, _, password = b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        user = password = ""
    if scheme.lower() != "basic" or not user:
        raise StoreRefused(
            Code.AUTHENTICATION_FAILED, "Authorization is `Basic <base64 of user:password>` here"
        )
    return Credentials(user, password)


def _form(content_type: str, body: bytes) -> Mapping[str, str]:
    """The text fields of a multipart form. Files (ClickHouse's external data) are refused."""
    head = f"Content-Type: {content_type}\r\nMIME-Version: 1.0\r\n\r\n".encode("latin-1")
    message = BytesParser(policy=HTTP).parsebytes(head + body)
    fields = {}
    parts = list(message.walk())[1:] if message.is_multipart() else []
    for part in parts[: FIELDS_MAX + 1]:
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if part.get_filename() is not None:
            raise StoreRefused(Code.NOT_IMPLEMENTED, "external data is not served")
        if not isinstance(name, str) or not isinstance(content, bytes) or name in fields:
            raise StoreRefused(Code.BAD_ARGUMENTS, "the form cannot be read")
        fields[name] = content.decode("utf-8", "surrogateescape")
    if not fields or len(fields) > FIELDS_MAX:
        raise StoreRefused(Code.BAD_ARGUMENTS, f"a form has 1 to {FIELDS_MAX} fields")
    return fields
