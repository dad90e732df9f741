"""The data plane as an ASGI application: a short table of endpoints behind one door.

Every endpoint but the two health checks is reached through `_authenticated`, so that no route can
forget it. What is not in the table is refused: a route that is not metered is not forwarded.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from fnmatch import fnmatchcase

from budgets.keys import Key
from budgets.ledger import LedgerConflict
from budgets.plan import ScopePath
from budgets.transport import LedgerUnavailable
from gateway.counting import InputCounting
from gateway.delegation import MintedKeys, MintKey, RevokeKey
from gateway.dialects import CHAT, DIALECTS, Dialect
from gateway.endpoints import Budget, QuoteEndpoint
from gateway.errors import (
    GatewayError,
    InvalidKey,
    LedgerGone,
    NotAllowed,
    Stopping,
)
from gateway.idempotency import Replays
from gateway.input_tokens import PATH as INPUT_TOKENS
from gateway.input_tokens import InputTokens
from gateway.models import MODELS_PATH, Model, Models, dialect_of_lists
from gateway.options import GatewayOptions
from gateway.parts import Parts
from gateway.path import RequestPath
from gateway.request import ClientGone, Receive, Request, Scope, Send, respond
from gateway.routes import Routes
from gateway.token_counts import COUNT_TOKENS_PATH, CountTokens
from gateway.unserved import refusal

Endpoint = Callable[[Request, Key, ScopePath], Awaitable[None]]
CUT_MS_MAX = 5_000
REFUSALS_MS_MAX = 2_000
NOT_DECLARED = "keys and budgets of the configuration are being declared: try again in a moment"
LEDGER_GONE = "the ledger does not answer: nothing is forwarded until it does"
_log = logging.getLogger("comptroller.gateway")


class Gateway:
    """ASGI: HTTP and lifespan; a WebSocket is refused."""

    def __init__(self, parts: Parts, close: Callable[[], Awaitable[None]]) -> None:
        self._parts = parts
        self._close = close
        self._beating: asyncio.Task[None] | None = None
        self._taking_up: asyncio.Task[None] | None = None
        self._sharing: asyncio.Task[None] | None = None
        self._replays = replays = Replays(parts.options, parts.clock)
        counting = InputCounting()
        self._endpoints: dict[tuple[str, str], Endpoint] = {
            ("POST", "/v1/quote"): QuoteEndpoint(parts, counting),
            ("GET", MODELS_PATH): Models(parts),
            ("GET", MODELS_PATH + "/{id}"): Model(parts),
            ("GET", "/v1/budget"): Budget(parts),
            ("POST", "/v1/keys"): MintKey(parts),
            ("GET", "/v1/keys"): MintedKeys(parts),
            ("DELETE", "/v1/keys/{id}"): RevokeKey(parts),
            ("POST", COUNT_TOKENS_PATH): CountTokens(parts),
            ("POST", INPUT_TOKENS): InputTokens(parts),
        }
        for each in DIALECTS.values():
            self._endpoints["POST", each.endpoint] = RequestPath(parts, replays, counting, each)
        self._paths = {path for _, path in self._endpoints}

    def become(self, routes: Routes, options: GatewayOptions) -> None:
        """Serves by these from now on. A request that has its route keeps it to its end; leases,
        cooldowns and what was learned of routes stay."""
        parts = self._parts
        parts.in_force.become(routes, options)
        parts.cooldowns.follow(routes.rules)
        parts.lines.follow(options.wait_ms)
        self._replays.follow(options)
        self._share()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http":
            await self._http(Request(scope, receive, send))
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        else:
            # Only under a server that speaks WebSockets; ours has none, and hands over the request.
            await send({"type": "websocket.close", "code": 1008, "reason": "not served"})

    async def _http(self, request: Request) -> None:
        if request.method == "GET" and request.path in ("/healthz", "/readyz"):
            await self._health(request)
            return
        dialect = _dialect(request)
        endpoint = self._endpoints.get((request.method, self._row(request.path)))
        if endpoint is None:
            await _refuse(request, self._unserved(request), dialect)
            return
        try:
            await self._authenticated(request, endpoint)
        except ClientGone:
            return
        except asyncio.CancelledError:  # by the server, which stops
            await _tell_of_stop(request, dialect)
        except GatewayError as error:
            await _refuse(request, error, dialect)
        except LedgerUnavailable as error:
            _log.warning("%s %s: %s", request.method, request.path, error)
            await _refuse(request, LedgerGone(LEDGER_GONE), dialect)
        except LedgerConflict as error:
            _log.error("is this machine's clock right? %s", error)  # ids carry their time
            await _refuse(request, LedgerGone(LEDGER_GONE), dialect)
        except Exception:  # noqa: BLE001  # the last door: logged whole, told as a 500
            _log.exception("%s %s failed", request.method, request.path)
            failure = GatewayError("the gateway failed; its log has the reason")
            await _refuse(request, failure, dialect)

    async def _authenticated(self, request: Request, endpoint: Endpoint) -> None:
        """The one door. State of the key's scope is the ledger's to judge, at every call."""
        found = await self._parts.keyring.find(request.secret())
        if found is None:
            raise InvalidKey("this key is unknown here: mint one with `comptroller key create`")
        key, path = found
        if key.expires_at_ms is not None and key.expires_at_ms <= self._parts.clock.now_ms():
            raise InvalidKey("this key has expired: mint another with `comptroller key create`")
        if key.endpoints and not any(fnmatchcase(request.path, each) for each in key.endpoints):
            raise NotAllowed(f"key {key.name} may not use {request.path}")
        await endpoint(request, key, path)

    def _row(self, path: str) -> str:
        """The path as the table has it: a last segment that is no fixed one is a parameter, and
        what follows /v1/models, because names of models have slashes in them."""
        if path in self._paths:
            return path
        if path.startswith(MODELS_PATH + "/"):
            return MODELS_PATH + "/{id}"
        return f"{path.rpartition('/')[0]}/{{id}}"

    def _unserved(self, request: Request) -> GatewayError:
        has_path = self._row(request.path) in self._paths
        return refusal(request, has_path=has_path, served=self._paths)

    async def _health(self, request: Request) -> None:
        """/healthz: the process runs. /readyz: it can reserve and settle, for the keys declared."""
        if request.path == "/readyz":
            if not self._parts.is_declared():
                await _refuse(request, LedgerGone(NOT_DECLARED), CHAT)
                return
            try:
                await self._parts.ledger.ping()
            except LedgerUnavailable as error:
                _log.warning("not ready: %s", error)
                await _refuse(request, LedgerGone(LEDGER_GONE), CHAT)
                return
            if self._parts.endings.full:
                await _refuse(request, LedgerGone("settlements wait"), CHAT)
                return
        await respond(request.send, 200, [(b"content-type", b"text/plain")], b"ok\n")

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        loop = asyncio.get_running_loop()
        self._beating = loop.create_task(self._parts.keeper.run())
        self._taking_up = loop.create_task(self._parts.endings.run())
        self._share()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._stop()
        await send({"type": "lifespan.shutdown.complete"})

    def _share(self) -> None:
        """Who rests is told and heard where that can make a difference."""
        if self._parts.routes.chooses and self._sharing is None:
            loop = asyncio.get_running_loop()
            self._sharing = loop.create_task(self._parts.cooldowns.run())

    async def _stop(self) -> None:
        """Requests in flight have ended by now or are just being cut; their endings may still
        wait for the ledger."""
        await self._parts.keeper.until_none_open(CUT_MS_MAX)
        left = await self._parts.endings.drain(self._parts.options.drain_ms)
        if self._taking_up is not None:
            await self._taking_up
        lost = await self._parts.endings.close()
        if left > lost:
            _log.warning("%d settlements wait on the disk for the next worker", left - lost)
        if lost:
            _log.error("%d settlements were not taken: their leases will be charged whole", lost)
        unrecorded = await self._parts.refusals.drain(REFUSALS_MS_MAX)
        if unrecorded:
            _log.error("%d refusals were not recorded", unrecorded)
        await self._parts.hard_stops.close()
        for each in (self._beating, self._sharing):
            if each is not None:
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await each
        await self._close()


def _dialect(request: Request) -> Dialect:
    """In whose shape errors are told: that of the path, or of what is above it."""
    path = request.path
    if path == MODELS_PATH or path.startswith(MODELS_PATH + "/"):
        return dialect_of_lists(request.headers)
    for endpoint, dialect in DIALECTS.items():
        if path == endpoint or path.startswith(endpoint + "/"):
            return dialect
    return CHAT


async def _refuse(request: Request, error: GatewayError, dialect: Dialect) -> None:
    if request.started:
        return  # the answer has begun: the server closes its connection, which says as much
    headers = [(b"content-type", b"application/json"), *error.headers]
    await respond(request.send, error.status, headers, dialect.error_body(error))


async def _tell_of_stop(request: Request, dialect: Dialect) -> None:
    """What was used is booked by now, or will be. Only a stream has begun before its end."""
    if request.started:
        last = dialect.error_event(Stopping())
        await request.send({"type": "http.response.body", "body": last})
    else:
        await _refuse(request, Stopping(), dialect)
