"""What an operator decides about workflows."""

from dataclasses import dataclass, field

ATTEMPTS_MAX = 200
RUNS_MAX = 2_000
LEASE_MS = 3_000
RUNS_DAYS = 90


@dataclass(frozen=True, slots=True)
class WorkflowOptions:
    """`programs_folder`: workflows in it, and in folders of it, may run programs; empty: none may.
    `gateway_url`: what steps call (`http://127.0.0.1:4000/v1`), empty: this machine's gateway;
    `callback_url`: where servers reach the admin API, empty: its address here; `runs_secret`: what
    keys of attempts and addresses of callbacks are derived from, the same on all machines that
    share a database, empty: one that is made and kept in the data dir. The others as in
    kit.ExecutorOptions."""

    attempts_max: int = ATTEMPTS_MAX
    runs_max: int = RUNS_MAX
    executor_lease_ms: int = LEASE_MS
    runs_days: int = RUNS_DAYS
    programs_folder: str = ""
    gateway_url: str = ""
    callback_url: str = ""
    runs_secret: str = field(default="", repr=False)
