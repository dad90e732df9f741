"""What a mutant is, and the tests that most of them meet first: some seconds each."""

from dataclasses import dataclass

LUA = "budgets/lua"
CHUNKS = f"{LUA}/chunks"
RESERVES = ("tests/budgets/test_reserve.py", "tests/budgets/test_reserve_retry.py")
SETTLES = ("tests/budgets/test_settle.py", "tests/budgets/test_leases.py")
RECORDS = ("tests/budgets/test_recording.py", "tests/budgets/test_compact.py")
FAULTS = "tests/recorder/test_faults.py"
RECOVERS = "tests/recorder/test_recovery.py"
ENDINGS = "tests/gateway/test_endings.py"
STREAM_ENDINGS = "tests/gateway/test_endings_streams.py"
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
