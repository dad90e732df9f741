"""Ways to break what is learned of routes."""

from tests.mutants.mutant import Mutant

_LEARNING = ("tests/budgets/test_learning.py",)
_LEARNED = ("tests/budgets/test_learned.py",)
_GATEWAY = ("tests/gateway/test_learning.py",)

ROUTES = (
    Mutant(
        "a bill is booked while its route is still learned of",
        "gateway/ending.py",
        "await self._parts.learning.learn(lesson)",
        "asyncio.get_running_loop().create_task(self._parts.learning.learn(lesson))",
        _GATEWAY,
    ),
    Mutant(
        "a factor replaces a higher one",
        "budgets/learning.py",
        "now = was.or_more(lesson.learned)",
        "now = lesson.learned",
        _LEARNING,
    ),
    Mutant(
        "a raise leaves a route trusted",
        "budgets/learning.py",
        "return self._on_probation(policy, now), event",
        "return msgspec.structs.replace(policy, learned=now), event",
        _LEARNING,
    ),
    Mutant(
        "what held before a raise ends the probation after it",
        "budgets/learning.py",
        "times = times + 1 if learned == route.learned else 1",
        "times += 1",
        _LEARNING,
    ),
    Mutant(
        "a late word that a bound holds undoes a raise",
        "budgets/learning.py",
        "if policy.learned != lesson.learned:",
        "if policy.learned is None:",
        _LEARNING,
    ),
    Mutant(
        "a changed route goes unnoticed",
        "budgets/ledger.py",
        "self._policies.forget(nodes_of(path, route))",
        "self._policies.forget(path.nodes())",
        _LEARNING,
    ),
    Mutant(
        "a lesson that the ledger did not hear is forgotten",
        "budgets/learning.py",
        "if not told and not lesson.holds:",
        "if lesson.holds:",
        _LEARNING,
    ),
    Mutant(
        "what was learned is not in the quote",
        "gateway/quoting.py",
        "_NOTHING_LEARNED if route is None else route.learned",
        "_NOTHING_LEARNED",
        _GATEWAY,
    ),
    Mutant(
        "a factor is rounded down",
        "budgets/learned.py",
        "steps = -(-billed * ONE_THOUSANDTHS // step)",
        "steps = billed * ONE_THOUSANDTHS // step",
        _LEARNED,
    ),
)
