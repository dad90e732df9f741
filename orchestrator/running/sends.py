"""Signed requests to servers of the user's."""

import asyncio
import ipaddress
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from orchestrator.kinds.contract import Answer, StepFailed
from orchestrator.running.bodies import CONNECT_S, Clients, answer_of, encoded
from orchestrator.running.signing import SIGNATURE_HEADER, TIMESTAMP_HEADER, signature

REQUEST_BYTES_MAX = 4 * 2**20
ANSWER_BYTES_MAX = 4 * 2**20
PORT_MAX = 65_535
CALLBACK_HEADER = "x-comptroller-callback"
"""The address that ends the step."""
BASE_URL_HEADER = "x-comptroller-base-url"
"""Of the gateway that the key is for."""
ATTEMPT_HEADER = "x-comptroller-attempt"
"""Its name: the same request may come twice, where an answer was lost."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. `key`: that goes with it as a bearer token, None for none; `base_url`: what it
    is for; `callback_url`: empty for none; `attempt`: its name."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: Any
    attempt: str
    key: str | None = None
    base_url: str = ""
    callback_url: str = ""


class Sends:
    """Of all attempts of a process. `signing_secret`: that the servers know, too."""

    def __init__(self, signing_secret: bytes) -> None:
        self._secret = signing_secret
        self._clients = Clients()

    async def close(self) -> None:
        """Ends the connections."""
        await self._clients.close()

    async def send(self, sent: Sent, timeout_s: float) -> Answer:
        """An answer of any status. Raises StepFailed where there is none, or where the request may
        not be sent."""
        if sent.key is not None:
            _expect_private(sent.url)
        body = b"" if sent.body is None else encoded(sent.body, REQUEST_BYTES_MAX)
        try:
            client = self._clients.next()
            request = client.build_request(
                sent.method,
                _address(sent.url),
                content=body,
                headers=self._headers(sent, body),
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_S)),
            )
            async with asyncio.timeout(timeout_s):
                return await answer_of(client, request, ANSWER_BYTES_MAX, sent.key or "")
        except (TimeoutError, httpx.TimeoutException):
            raise StepFailed(f"the server did not answer within {timeout_s:g} s") from None
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.LocalProtocolError, ValueError):
            raise StepFailed(
                "the url or a header is malformed: no spaces, line ends or characters beyond ASCII",
                is_final=True,
            ) from None
        except httpx.HTTPError as error:
            raise StepFailed(f"the server cannot be reached ({type(error).__name__})") from None

    def _headers(self, sent: Sent, body: bytes) -> dict[str, str]:
        """The user's, and ours above them: nobody signs, or speaks for another attempt, by a header
        of a definition."""
        timestamp = str(int(time.time()))
        ours = {
            "content-type": "application/json" if body else "",
            ATTEMPT_HEADER: sent.attempt,
            CALLBACK_HEADER: sent.callback_url,
            BASE_URL_HEADER: sent.base_url,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: signature(self._secret, timestamp, body),
            "authorization": "" if sent.key is None else f"Bearer {sent.key}",
        }
        theirs = {name.lower(): value for name, value in sent.headers.items()}
        if not body or "content-type" in theirs:
            del ours["content-type"]
        return {**theirs, **{name: value for name, value in ours.items() if value}}


def _address(url: str) -> httpx.URL:
    """Raises httpx.InvalidURL."""
    parsed = httpx.URL(url)
    if (parsed.port or 0) > PORT_MAX:  # else it is sockets that find out
        raise httpx.InvalidURL("no such port")
    return parsed


def _expect_private(url: str) -> None:
    """A key may be read by nobody on the way. Raises StepFailed."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        return  # it is refused as such
    if parsed.scheme == "https" or _is_loopback(parsed.host):
        return
    raise StepFailed(
        f"{parsed.scheme}://{parsed.host} gets no key, because everybody on the way could read "
        "it: use https, or a server on this machine, or leave `key` out",
        is_final=True,
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
