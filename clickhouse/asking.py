"""Small questions to the records over HTTP, from processes that must stay small.

Nothing is loaded or connected before the first question: a gateway worker asks when it meets a
scope that its ledger does not know, and many never do. One connection, kept; no driver (it takes
26 MB).
"""

import asyncio
import contextlib
import secrets
import threading
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from clickhouse.errors import StoreUnavailable, refused

if TYPE_CHECKING:
    from http.client import HTTPConnection

ANSWER_S_MAX = 5.0
_PATH = "/?database=comptroller&default_format=JSONCompactEachRow&readonly=1"


@dataclass(frozen=True, slots=True)
class RecordsUrl:
    """Where records answer HTTP (`http(s)://host[:port]`), and as whom."""

    url: str
    user: str
    password: str = field(repr=False)


class Asker:
    """`where` is called before each connection: a recorder that starts again may have another
    port. It raises StoreUnavailable where there is none."""

    def __init__(self, where: Callable[[], RecordsUrl]) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._connection: HTTPConnection | None = None
        self._head: dict[str, str] = {}

    async def select(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        """The answer as JSONCompactEachRow. Raises StoreUnavailable, StoreRefused."""
        return await asyncio.to_thread(self._asked, query, parameters)

    def _asked(self, query: str, parameters: Mapping[str, str | int]) -> bytes:
        from http.client import HTTPException  # noqa: PLC0415  # few workers ask

        content_type, body = _form(query, parameters)
        with self._lock:
            was_open = self._connection is not None
            try:
                status, answer = self._exchanged(content_type, body)
            except (OSError, HTTPException) as error:
                self._drop()
                if not was_open:
                    raise StoreUnavailable(f"the records do not answer: {error}") from None
                try:  # it was closed while it was idle; a question can be asked twice
                    status, answer = self._exchanged(content_type, body)
                except (OSError, HTTPException) as again:
                    self._drop()
                    raise StoreUnavailable(f"the records do not answer: {again}") from None
        if status != 200:
            raise refused(answer.decode("utf-8", "replace"))
        return answer

    def _exchanged(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        connection = self._connection or self._connect()
        self._connection = connection
        headers = {**self._head, "Content-Type": content_type}
        connection.request("POST", _PATH, body, headers)
        response = connection.getresponse()
        return response.status, response.read()

    def _connect(self) -> "HTTPConnection":
        from http.client import HTTPConnection, HTTPSConnection  # noqa: PLC0415  # the same

        where = self._where()
        parts = urlsplit(where.url)
        credentials = b64encode(f"{where.user}:{where.password}".encode()).decode()
        self._head = {"Authorization": f"Basic {credentials}"}
        kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        port = parts.port or (8443 if parts.scheme == "https" else 8123)
        return kind(parts.hostname or "", port, timeout=ANSWER_S_MAX)

    def _drop(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
            self._connection = None


def _form(query: str, parameters: Mapping[str, str | int]) -> tuple[str, bytes]:
    """A multipart form, as drivers send it that have more parameters than fit into a URL."""
    boundary = secrets.token_hex(16)
    fields = {"query": query, **{f"param_{name}": each for name, each in parameters.items()}}
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    body = "".join([*parts, f"--{boundary}--\r\n"]).encode()
    return f"multipart/form-data; boundary={boundary}", body
