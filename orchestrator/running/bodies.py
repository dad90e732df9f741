"""Requests and answers with bodies of bounded size, over one shared client."""

import itertools
import json
import ssl
from typing import Any

import httpx

from orchestrator.kinds.contract import Answer, StepFailed
from orchestrator.running.printed import without

CLIENTS = 20
CONNECTIONS_MAX = 20
"""Of each client."""
CONNECT_S = 10.0


class Clients:
    """For all attempts of a process, taken in turn: a client looks at each of its connections at
    each request, which is most of what a hundred calls at once cost."""

    def __init__(self) -> None:
        trusted = ssl.create_default_context()
        self._all = [_client(trusted) for _ in range(CLIENTS)]
        self._next = itertools.cycle(self._all)

    def next(self) -> httpx.AsyncClient:
        """Whose turn it is."""
        return next(self._next)

    async def close(self) -> None:
        """Ends the connections."""
        for each in self._all:
            await each.aclose()


def _client(trusted: ssl.SSLContext) -> httpx.AsyncClient:
    """It takes no proxy and no password from the environment, and follows no redirect: what a
    request carries goes to where it was sent, and nowhere else."""
    limits = httpx.Limits(
        max_connections=CONNECTIONS_MAX, max_keepalive_connections=CONNECTIONS_MAX
    )
    return httpx.AsyncClient(limits=limits, trust_env=False, follow_redirects=False, verify=trusted)


def encoded(body: Any, bytes_max: int) -> bytes:
    """JSON. Raises StepFailed where it is too long."""
    # Half a surrogate pair, which JSON of a model may have, becomes a question mark.
    data = json.dumps(body, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")
    if len(data) > bytes_max:
        raise StepFailed(
            f"the request has {len(data)} bytes, and at most {bytes_max} are sent: send less, or "
            "where it is to be found",
            is_final=True,
        )
    return data


async def answer_of(
    client: httpx.AsyncClient, request: httpx.Request, bytes_max: int, secret: str = ""
) -> Answer:
    """Without the secret, which some servers say back. Raises StepFailed where it is too long, and
    httpx's errors."""
    response = await client.send(request, stream=True)
    try:
        data = bytearray()
        async for each in response.aiter_bytes():
            data += each
            if len(data) > bytes_max:
                raise too_long(bytes_max)
    finally:
        await response.aclose()
    return Answer(
        response.status_code, dict(response.headers), decoded(without((secret,), bytes(data)))
    )


def too_long(bytes_max: int) -> StepFailed:
    """What an answer is that has more bytes."""
    return StepFailed(f"the answer has more than {bytes_max} bytes: ask for less")


def decoded(data: bytes) -> Any:
    """JSON where it is; a text; None where there is nothing."""
    if not data:
        return None
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return data.decode("utf-8", "replace")
