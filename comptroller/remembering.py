"""The ledger's memory: what the records say of scopes that have left it, asked over HTTP.

The Protocol is `budgets.memory.Memory`. Questions that come while one is under way go together in
the next one, so that a burst of new runs costs a few queries and not thousands.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from budgets.memory import MemoryAway, Remembered
from clickhouse.accounts import MEMORY, RecordsSecret, SecretUnusable
from clickhouse.asking import Asker, RecordsUrl
from clickhouse.errors import RecordsError, StoreUnavailable
from clickhouse.query import load_query
from clickhouse.quoting import LIST_BYTES_MAX, array, pieces
from comptroller.data_dir import absolute, records_folder, secret_file, url_file
from comptroller.settings import Settings

PLACES_MAX = 10_000
_NOTHING = ()
_log = logging.getLogger("comptroller.memory")
Select = Callable[[str, Mapping[str, str | int]], Awaitable[bytes]]


@dataclass(slots=True)
class _Question:
    through_seq: int
    scopes: Sequence[str]
    fields: Sequence[str]
    keys: Sequence[str]
    answer: "asyncio.Future[Remembered | None]"

    @property
    def size_bytes(self) -> int:
        return sum(len(name) + 3 for name in (*self.scopes, *self.fields, *self.keys))


class RecordsMemory:
    """See `budgets.memory.Memory`. `select` asks the records: JSONCompactEachRow."""

    def __init__(self, select: Select) -> None:
        self._select = select
        self._waiting: dict[str, list[_Question]] = {}
        self._at_work: dict[str, asyncio.Task[None]] = {}
        self._places: dict[str, int] = {}  # of a snapshot that is there, by organisation

    async def remembered(
        self,
        organisation: str,
        through_seq: int,
        *,
        scopes: Sequence[str] = _NOTHING,
        fields: Sequence[str] = _NOTHING,
        keys: Sequence[str] = _NOTHING,
    ) -> Remembered | None:
        """See Memory."""
        answer: asyncio.Future[Remembered | None] = asyncio.get_running_loop().create_future()
        question = _Question(through_seq, scopes, fields, keys, answer)
        self._waiting.setdefault(organisation, []).append(question)
        if organisation not in self._at_work:
            self._at_work[organisation] = asyncio.create_task(self._work(organisation))
        return await answer

    async def _work(self, organisation: str) -> None:
        try:
            while waiting := self._waiting.get(organisation):
                await self._answer(organisation, _taken(waiting))
        finally:
            self._waiting.pop(organisation, None)
            del self._at_work[organisation]

    async def _answer(self, organisation: str, questions: list[_Question]) -> None:
        try:
            found = await self._ask(
                organisation,
                max(each.through_seq for each in questions),
                scopes=_distinct(each.scopes for each in questions),
                fields=_distinct(each.fields for each in questions),
                keys=_distinct(each.keys for each in questions),
            )
        except Exception as error:  # noqa: BLE001  # whatever it is: those who wait must be told
            if not isinstance(error, RecordsError):
                _log.exception("an answer of the records was not understood")
            for each in questions:
                if not each.answer.done():
                    each.answer.set_exception(MemoryAway(f"the records cannot be asked: {error}"))
        else:
            for each in questions:
                if not each.answer.done():  # whoever asked may have gone
                    each.answer.set_result(found)

    async def _ask(
        self,
        organisation: str,
        through_seq: int,
        *,
        scopes: Sequence[str],
        fields: Sequence[str],
        keys: Sequence[str],
    ) -> Remembered | None:
        after_seq = await self._place(organisation, through_seq)
        found = Remembered()
        for some in tuple(pieces(fields)) or ((),):
            lines = await self._select(
                load_query("remembered"),
                {
                    "org": organisation,
                    "after_seq": after_seq,
                    "through_seq": through_seq,
                    "scopes": array(scopes),
                    "fields": array(some),
                    "keys": array(keys),
                },
            )
            if not _read(
                lines, found, is_covered=after_seq >= through_seq, through_seq=through_seq
            ):
                return None
        return found

    async def _place(self, organisation: str, through_seq: int) -> int:
        """A snapshot that is there before anything else is asked: no event before it is looked
        for, because the balances have it."""
        place = self._places.get(organisation, -1)
        if place < through_seq:
            line = await self._select(load_query("snapshot_place"), {"org": organisation})
            place = int(json.loads(line)[0]) if line.strip() else 0
            if len(self._places) >= PLACES_MAX:
                self._places.clear()
            self._places[organisation] = place
        return place


def _taken(waiting: list[_Question]) -> list[_Question]:
    """The first of them, as many as go into one query; they wait no more."""
    size_bytes = count = 0
    for each in waiting:
        size_bytes += each.size_bytes
        if count and size_bytes > LIST_BYTES_MAX:
            break
        count += 1
    taken = waiting[:count]
    del waiting[:count]
    return taken


def _distinct(lists: Iterable[Sequence[str]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _read(lines: bytes, found: Remembered, *, is_covered: bool, through_seq: int) -> bool:
    """Adds an answer to what was found; False where the log is not there yet."""
    texts = {"scope": found.scopes, "policy": found.policies, "key": found.keys}
    places: dict[str, tuple[int, int]] = {}
    late: list[list[str | int]] = []
    for line in lines.splitlines():
        kind, name, epoch, seq, number, text = json.loads(line)
        if kind == "spent":
            places[name] = int(epoch), int(seq)
            found.spent[name] = int(number)
        elif kind == "log":
            is_covered = is_covered or int(seq) >= through_seq
            late = json.loads(text)
        elif text:
            texts[kind][name] = text
    if not is_covered:
        return False
    for name, epoch, seq, charged in late:
        field = str(name)
        if (int(epoch), int(seq)) > places.get(field, (-1, -1)):
            found.spent[field] = found.spent.get(field, 0) + int(charged)
    return True


def records_memory(settings: Settings) -> RecordsMemory:
    """The memory of a process of ours: the ClickHouse server of the settings, or the recorder that
    runs on their data dir."""

    def where() -> RecordsUrl:
        options = settings.records
        if options.clickhouse_url:
            return RecordsUrl(
                options.clickhouse_url, options.clickhouse_user, options.clickhouse_password
            )
        return _embedded(settings.data_dir)

    return RecordsMemory(Asker(where).select)


def _embedded(data_dir: str) -> RecordsUrl:
    from clickhouse.engine import is_open_elsewhere  # noqa: PLC0415  # not before it is asked

    folder = absolute(data_dir)
    # An address that a killed recorder has left may be somebody else's by now.
    if not (url_file(folder).exists() and is_open_elsewhere(records_folder(folder))):
        raise StoreUnavailable(f"no recorder runs on {folder}: start `comptroller up`")
    try:
        password = RecordsSecret.load_or_create(secret_file(folder)).password_of(MEMORY)
        return RecordsUrl(url_file(folder).read_text(encoding="ascii"), MEMORY, password)
    except (OSError, SecretUnusable) as error:
        raise StoreUnavailable(f"the recorder's address cannot be read: {error}") from None
