"""Ways to break the ledger and what stands around it, each a text of a file that is replaced by
another. Every one of them must turn tests red.

The texts of `tests/simulation/mutations.py` are here too, by reference: the simulation finds them,
and so must the tests that are quicker to read.
"""

from dataclasses import dataclass
from pathlib import Path

from tests.simulation.mutations import IN_SCRIPTS, InScript

ROOT = Path(__file__).parents[2]
LUA = "budgets/lua"
CHUNKS = f"{LUA}/chunks"
# What most mutants of the scripts meet first; all of it takes some seconds.
RESERVES = ("tests/budgets/test_reserve.py", "tests/budgets/test_reserve_retry.py")
SETTLES = ("tests/budgets/test_settle.py", "tests/budgets/test_leases.py")
RECORDS = ("tests/budgets/test_recording.py", "tests/budgets/test_compact.py")
FAULTS = "tests/recorder/test_faults.py"
ENDINGS = "tests/gateway/test_endings.py"
NAMES = ("tests/gateway/test_idempotency.py", "tests/gateway/test_idempotent_endings.py")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands in `file` exactly once, and becomes `new`. `tests` (files, or tests of one) are
    those that are most likely to notice; others follow if they do not."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


_RESERVE = (
    Mutant(
        "another request under the same id gets the same grant",
        f"{LUA}/reserve.lua",
        "lease_fingerprint ~= fingerprint then return {'CONFLICT'} end",
        "false then return {'CONFLICT'} end",
        RESERVES,
    ),
    Mutant(
        "a grant has no expiry",
        f"{LUA}/reserve.lua",
        "call('ZADD', KEYS[5], string.format('%.0f', time_ms + lease_ms), id)",
        "",
        SETTLES,
    ),
    Mutant(
        "a full outbox admits",
        f"{LUA}/reserve.lua",
        "if call('XLEN', KEYS[2]) >= outbox_max or bodies_bytes + #body > bodies_max then",
        "if false then",
        RESERVES,
    ),
    Mutant(
        "what others hold counts as spent for good",
        f"{LUA}/reserve.lua",
        "elseif spent + need > amount then",
        "elseif spent + reserved + need > amount then",
        RESERVES,
    ),
    Mutant(
        "one grant takes all that is free",
        f"{LUA}/reserve.lua",
        "if reserved > 0 then share = share_of(room, limits[5 * i - 3]) end",
        "",
        ("tests/budgets/test_reserve_grant.py",),
    ),
    Mutant(
        "money is rounded down",
        f"{LUA}/reserve.lua",
        "local product = output * per[dimension] + 999",
        "local product = output * per[dimension]",
        ("tests/budgets/test_reserve_grant.py",),
    ),
    Mutant(
        "an id older than the tombstones is served",
        f"{LUA}/reserve.lua",
        "if not id_ms or id_ms < time_ms - ID_AGE_MS_MAX or id_ms > time_ms + ID_AHEAD_MS_MAX then",
        "if not id_ms then",
        RESERVES,
    ),
    Mutant(
        "the last limit of a path is not counted",
        f"{LUA}/reserve.lua",
        "writes[2 * i - 1], writes[2 * i] = field, pack(COUNTER, spents[i], reserveds[i] + amount, "
        "allotteds[i])",
        "writes[2 * i - 1], writes[2 * i] = field, pack(COUNTER, spents[i], reserveds[i] + "
        "(i == count and count > 1 and 0 or amount), allotteds[i])",
        RESERVES,
    ),
    Mutant(
        "an earlier attempt of a step is admitted",
        f"{CHUNKS}/scopes.lua",
        "if attempts[i] < fence then return 'FENCED', i end",
        "",
        RESERVES,
    ),
    Mutant(
        "time runs back with the server's clock",
        f"{CHUNKS}/meta.lua",
        "time_ms = math.max(time_ms, now())",
        "time_ms = now()",
        RESERVES,
    ),
)
_ENDINGS = (
    Mutant(
        "an overrun is cut to what was reserved",
        f"{CHUNKS}/resolve.lua",
        "if charged < 0 then charged = held end",
        "if charged < 0 or charged > held then charged = held end",
        SETTLES,
    ),
    Mutant(
        "concurrency does not come back",
        f"{CHUNKS}/resolve.lua",
        "local charged = dimension == 4 and 0 or truth[dimension] or held",
        "local charged = truth[dimension] or held",
        SETTLES,
    ),
    Mutant(
        "what is settled stays reserved",
        f"{CHUNKS}/resolve.lua",
        "pack(COUNTER, spent + charged, reserved - held, allotted)",
        "pack(COUNTER, spent + charged, reserved, allotted)",
        SETTLES,
    ),
    Mutant(
        "late truth makes a counter negative",
        f"{CHUNKS}/resolve.lua",
        "delta = math.max(delta, -spent)",
        "",
        SETTLES,
    ),
    Mutant(
        "a forgotten counter comes back with its ending",
        f"{CHUNKS}/resolve.lua",
        "    if values[i] then\n",
        "    if true then\n",
        RECORDS,
    ),
    Mutant(
        "a reserve that was given up can still be granted",
        f"{LUA}/release.lua",
        "elseif not done then\n  bury(KEYS[6], id, 'released')",
        "elseif not done then",
        RESERVES,
    ),
    Mutant(
        "leases expire while the ledger was away",
        f"{LUA}/sweep.lua",
        "if time_ms < opened_ms + lease_ms then return {'SWEPT', swept} end",
        "",
        SETTLES,
    ),
    Mutant(
        "a lease that lives is swept",
        f"{LUA}/sweep.lua",
        "if lease and expires and tonumber(expires) <= time_ms then",
        "if lease and expires then",
        SETTLES,
    ),
    Mutant(
        "a heartbeat does not ask for the path",
        f"{LUA}/extend.lua",
        "if answer == 'STALE' or answer == 'RECOVERING' then answer = 'OK' end",
        "answer = 'OK'",
        SETTLES,
    ),
    Mutant(
        "an ending takes another's name",
        f"{CHUNKS}/marks.lua",
        "if owner ~= id then return end",
        "",
        ("tests/budgets/test_marks.py",),
    ),
    Mutant(
        "a correction is booked as often as it comes",
        f"{LUA}/adjust.lua",
        "if call('HEXISTS', KEYS[6], id) == 1 then return {'ALREADY'} end",
        "",
        ("tests/budgets/test_administration.py",),
    ),
    Mutant(
        "an operator writes over what it has not read",
        f"{LUA}/set.lua",
        "if version ~= expected then return {'STALE', version} end",
        "",
        ("tests/budgets/test_administration.py",),
    ),
    Mutant(
        "what is closed can be opened again",
        f"{LUA}/state.lua",
        "elseif state == CLOSING or state == CLOSED then\n  return {'CLOSED'}\n",
        "",
        ("tests/budgets/test_administration.py", *RESERVES),
    ),
    Mutant(
        "a rotation that lost shuts the winner out",
        f"{LUA}/key.lua",
        "if held ~= '' and not string.find(",
        "if false and not string.find(",
        ("tests/budgets/test_rotation.py",),
    ),
)
_RECORDING = (
    Mutant(
        "two recorders own an organisation",
        f"{LUA}/own.lua",
        "if owner and owner ~= token and time_ms < tonumber(until_ms) then",
        "if false then",
        RECORDS,
    ),
    Mutant(
        "a recorder that lost its lease fixes a batch",
        f"{LUA}/fix.lua",
        "if owner ~= token or time_ms >= tonumber(until_ms) then return {'LOST'} end",
        "",
        RECORDS,
    ),
    Mutant(
        "a fixed batch is fixed anew",
        f"{LUA}/fix.lua",
        "if fixed then return {'FIXED', fixed} end",
        "",
        RECORDS,
    ),
    Mutant(
        "whoever was paused confirms",
        f"{LUA}/confirm.lua",
        "if owner ~= token and (owner or spooler ~= '') then return {'LOST'} end",
        "",
        RECORDS,
    ),
    Mutant(
        "payload bytes are given back with every confirmation",
        f"{LUA}/confirm.lua",
        "if trimmed > 0 then",
        "if true then",
        RECORDS,
    ),
    Mutant(
        "a counter of which the records say something else is forgotten",
        f"{LUA}/compact.lua",
        "if spent ~= recorded then",
        "if false then",
        RECORDS,
    ),
    Mutant(
        "a counter with something reserved is forgotten",
        f"{LUA}/compact.lua",
        "elseif reserved == 0 and allotted == 0 then",
        "else",
        RECORDS,
    ),
    Mutant(
        "a batch that is in doubt is written without asking",
        "recorder/writer.py",
        "        if doubt and await there(batch):\n            return\n",
        "",
        ("tests/recorder/test_writer.py",),
    ),
    Mutant(
        "what an engine takes is believed to be there",
        "recorder/writer.py",
        "            if await _appears(batch, there):\n                return\n",
        "            return\n",
        (f"{FAULTS}::test_an_engine_that_knows_a_token_without_its_rows",),
    ),
    Mutant(
        "a spooled batch is not confirmed",
        "recorder/organisation.py",
        "        await self._confirm(batch, on_disk=True)",
        "        await asyncio.sleep(0)",
        (f"{FAULTS}::test_an_outage_under_load",),
    ),
)
_WORKER = (
    Mutant(
        "an ending that was cancelled is lost",
        "budgets/endings.py",
        "        except asyncio.CancelledError:\n            self._wait(ending)\n            raise",
        "        except asyncio.CancelledError:\n            raise",
        ("tests/budgets/test_endings.py",),
    ),
    Mutant(
        "an ending that the ledger did not take is lost",
        "budgets/endings.py",
        '            _log.warning("an ending waits: %r", error)\n            self._wait(ending)',
        '            _log.warning("an ending waits: %r", error)',
        ("tests/budgets/test_endings.py",),
    ),
    Mutant(
        "one ending that is never taken holds up the rest",
        "budgets/endings.py",
        "self._waiting.rotate(-1)",
        "self._waiting.rotate(0)",
        ("tests/budgets/test_endings.py",),
    ),
    Mutant(
        "a stream whose lease could not be extended goes on",
        "budgets/leases.py",
        'self._cut(lease, "EXPIRED")',
        "self._waits = lease.was_cut",
        SETTLES,
    ),
    Mutant(
        "a lease counts from the answer, not from the question",
        "budgets/leases.py",
        "lease.expires_at_ms = asked_at_ms + self._lease_ms",
        "lease.expires_at_ms = self._clock.now_ms() + self._lease_ms",
        SETTLES,
    ),
    Mutant(
        "a stream is not cut when its path is shut",
        "budgets/leases.py",
        "                else:\n                    self._cut(lease, answer)",
        "                elif lease.was_cut:\n                    self._cut(lease, answer)",
        SETTLES,
    ),
    Mutant(
        "a reserve without an answer is not given back",
        "gateway/path.py",
        '                await parts.endings.release(path.organisation, id_, b"", name)\n',
        "                assert name is not None\n",
        (
            "tests/gateway/test_idempotent_endings.py::test_a_name_is_free_after_a_reserve_without_an_answer",
        ),
    ),
    Mutant(
        "what was forwarded is released",
        "gateway/ending.py",
        '        self.outcome = "unknown"\n        self._sender',
        "        self._sender",
        (
            f"{ENDINGS}::test_an_error_body_before_any_output_costs_nothing",
            f"{ENDINGS}::test_a_stream_that_breaks_off",
        ),
    ),
    Mutant(
        "the provider's own error is charged",
        "gateway/ending.py",
        'if self.outcome == "provider_error" or self.usage.is_error:',
        "if self.usage.is_error:",
        (f"{ENDINGS}::test_the_providers_own_error_costs_nothing_but_a_request",),
    ),
    Mutant(
        "what was reasoned unseen is not charged",
        "gateway/ending.py",
        "call.stream and not (route.reasons_unseen or route.bills_after_cancel)",
        "call.stream",
        (f"{ENDINGS}::test_a_stream_that_breaks_off",),
    ),
    Mutant(
        "bytes that were not read are not charged",
        "gateway/ending.py",
        "self._undelivered |= self._response.abort()",
        "self._response.abort()",
        ("tests/gateway/test_hang_ups.py::test_hang_up_while_bytes_of_the_provider_wait",),
    ),
    Mutant(
        "a stream too long to remember is counted by its beginning",
        "gateway/ending.py",
        "return self._streams_all and not self._record.is_cut and not self._undelivered",
        "return self._streams_all and not self._undelivered",
        (f"{ENDINGS}::test_a_stream_too_long_to_remember_is_booked_whole",),
    ),
    Mutant(
        "a stream beyond its grant is charged no more than that",
        "gateway/ending.py",
        "bounded = max if beyond else min",
        "bounded = min",
        (f"{ENDINGS}::test_output_beyond_the_grant_is_cut",),
    ),
    Mutant(
        "an overrun is not labelled",
        "gateway/ending.py",
        "overrun=charged > reservation.reserved_nusd,",
        "overrun=False,",
        (f"{ENDINGS}::test_an_overrun_is_booked_and_labelled",),
    ),
    Mutant(
        "names of one key are another's, too",
        "gateway/idempotency.py",
        'name = hashlib.sha256(key.id.encode() + b"\\0" + value).hexdigest()',
        "name = hashlib.sha256(value).hexdigest()",
        NAMES,
    ),
    Mutant(
        "another body under the same name is the same request",
        "gateway/idempotency.py",
        "    asked.update(body)\n",
        "",
        NAMES,
    ),
    Mutant(
        "another request's answer is replayed",
        "gateway/idempotency.py",
        'if kept is None or not repeat.same or repeat.state != "settled":',
        "if kept is None:",
        NAMES,
    ),
)
_LIKELY = {"confirm": RECORDS, "settle": SETTLES, "sweep": SETTLES, "extend": SETTLES}
_NAMED = {"the name of a request is ignored": ("tests/budgets/test_marks.py",)}


def _file_of(each: InScript) -> str:
    """The only file with the text of a mutant of the simulation."""
    files = sorted((ROOT / LUA).rglob("*.lua"))
    of_scripts = {f"{name}.lua" for name in each.scripts}
    found = [file for file in files if each.old in file.read_text(encoding="utf-8")]
    named = [file for file in found if file.name in of_scripts] or found
    return str(named[0].relative_to(ROOT)) if named else f"{LUA}/nowhere.lua"


def _simulated() -> tuple[Mutant, ...]:
    return tuple(
        Mutant(
            name,
            _file_of(each),
            each.old,
            each.new,
            _NAMED.get(name)
            or next((_LIKELY[script] for script in each.scripts if script in _LIKELY), RESERVES),
        )
        for name, each in IN_SCRIPTS.items()
    )


MUTANTS = (*_simulated(), *_RESERVE, *_ENDINGS, *_RECORDING, *_WORKER)


def missing(mutant: Mutant) -> str:
    """Why it cannot be made; empty where it can."""
    file = ROOT / mutant.file
    count = file.read_text(encoding="utf-8").count(mutant.old) if file.exists() else 0
    return "" if count == 1 else f"{mutant.file} has its text {count} times"
