"""The records of a chaos run as their HTTP port tells them."""

import json
from pathlib import Path
from typing import Any

import httpx
import msgspec

from clickhouse.accounts import READER, RecordsSecret

PAGE = 10_000
_EVENTS = """
SELECT epoch, seq, toUnixTimestamp64Milli(time) AS time_ms, event_type, request_id, key_id,
       usage_source, overrun, output_tokens_max, reserved_nusd, charged_nusd, response_bytes,
       error, counters
FROM comptroller.events
WHERE org = '%s' AND part = 0 AND (epoch > %d OR (epoch = %d AND seq > %d))
ORDER BY epoch, seq LIMIT %d
"""
_NUMBERS = r"""
SELECT request_id, toUInt64(extract(body, 'call-([0-9]+)\\.'))
FROM comptroller.bodies WHERE org = '%s' AND kind = 'request'
"""
_BALANCES = """
SELECT field, epoch, seq, spent FROM comptroller.balances WHERE org = '%s' ORDER BY epoch, seq
"""


class Event(msgspec.Struct, array_like=True, frozen=True):
    """One event. `counters` are (counter, dimension, reserved or given back, charged)."""

    epoch: int
    seq: int
    time_ms: int
    kind: str
    request_id: str = ""
    key_id: str = ""
    usage_source: str = ""
    overrun: int = 0
    output_tokens_max: int = 0
    reserved_nusd: int = 0
    charged_nusd: int = 0
    response_bytes: int = 0
    error: str = ""
    counters: tuple[tuple[str, int, int, int], ...] = ()


class Balance(msgspec.Struct, array_like=True, frozen=True):
    """What a counter came to, by all events up to (epoch, seq)."""

    field: str
    epoch: int
    seq: int
    spent: int


class Records:
    """Of a running stack."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    async def events(self, organisation: str) -> list[Event]:
        """All of an organisation, in the order of the log."""
        found: list[Event] = []
        epoch = seq = 0
        while True:
            lines = await self._lines(_EVENTS % (organisation, epoch, epoch, seq, PAGE))
            found += [msgspec.json.decode(line, type=Event) for line in lines]
            if len(lines) < PAGE:
                return found
            epoch, seq = found[-1].epoch, found[-1].seq

    async def numbers(self, organisation: str) -> dict[str, int]:
        """The client's number of each request that was recorded, by the gateway's id."""
        lines = await self._lines(_NUMBERS % organisation)
        return dict(json.loads(line) for line in lines)

    async def balances(self, organisation: str) -> dict[str, Balance]:
        """The last balance of each counter that the ledger has let go."""
        lines = await self._lines(_BALANCES % organisation)
        rows = [msgspec.json.decode(line, type=Balance) for line in lines]
        return {each.field: each for each in rows}

    async def _lines(self, query: str) -> list[Any]:
        url = (self._data_dir / "records.url").read_text(encoding="ascii")
        secret = RecordsSecret.load_or_create(self._data_dir / "records.secret")
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            answer = await client.post(
                url,
                content=f"{query} FORMAT JSONCompactEachRow",
                params={"output_format_json_quote_64bit_integers": "0"},
                auth=(READER, secret.password_of(READER)),
            )
        assert answer.status_code == 200, answer.text
        return answer.text.splitlines()
