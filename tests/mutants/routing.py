"""Mutants of who is tried when a deployment fails."""

from tests.mutants.mutant import Mutant

_WAYS = ("tests/gateway/test_routing.py",)
_ATTEMPTS = ("tests/gateway/test_attempts.py",)
_BOUNDS = ("tests/gateway/test_attempts_bounds.py",)

ROUTING = (
    Mutant(
        "an unknown outcome is tried again, and paid twice",
        "gateway/routing.py",
        "            return self._pool.rules.retry_unknown and not self._is_named\n",
        "            return True\n",
        (*_WAYS, *_ATTEMPTS),
    ),
    Mutant(
        "a named request is paid twice",
        "gateway/routing.py",
        "            return self._pool.rules.retry_unknown and not self._is_named\n",
        "            return self._pool.rules.retry_unknown\n",
        (*_WAYS, *_ATTEMPTS),
    ),
    Mutant(
        "a key falls back to a model that it may not use",
        "gateway/routes.py",
        "            if pool is not None and (not key.models or allowed(key.models, pool.name)):\n",
        "            if pool is not None:\n",
        (*_WAYS, *_BOUNDS),
    ),
    Mutant(
        "weights do not count",
        "gateway/routing.py",
        "            point -= each.weight\n",
        "            point -= total\n",
        _WAYS,
    ),
    Mutant(
        "who rests is tried",
        "gateway/routing.py",
        "            if each.deployment not in failed and rests(each) is None\n",
        "            if each.deployment not in failed\n",
        _WAYS,
    ),
    Mutant(
        "a pause is not told to the other workers",
        "gateway/cooldowns.py",
        '        await self._transport.command("ZADD", KEY, "GT", *scored)\n',
        "        assert scored\n",
        ("tests/gateway/test_cooldowns.py",),
    ),
    Mutant(
        "a further attempt does not name the first",
        "gateway/reserving.py",
        "        correlation_id=asked.first_id,\n",
        "",
        _ATTEMPTS,
    ),
    Mutant(
        "an error in place of a stream is passed on at once",
        "gateway/relay.py",
        "                    if reader.usage.is_error:\n",
        "                    if not passed:\n",
        _ATTEMPTS,
    ),
)
