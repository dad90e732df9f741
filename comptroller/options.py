"""Every setting, as data: one row each. Parsing, messages and the documentation come from here."""

from dataclasses import dataclass

from budgets.policy import PAYLOADS

OptionValue = int | bool | str
_OF_THE_START = frozenset(("probation_concurrency", "payloads", "drain_ms"))
"""Settings of the data plane that its parts are made with."""


@dataclass(frozen=True, slots=True)
class Option:
    """One setting. In the file it stands in `section` (empty: top level); the environment's
    COMPTROLLER_<NAME> wins over the file. `choices` are all values of a text that has only some;
    `part` is the field of Settings that takes it, where that is not named as the section. One that
    `needs_restart` is made something of at the start that cannot change while things run."""

    name: str
    section: str
    default: OptionValue
    meaning: str
    least: int = 0
    most: int = 2**53
    choices: tuple[str, ...] = ()
    part: str = ""

    @property
    def needs_restart(self) -> bool:
        """Whether a reload refuses another value of it."""
        return self.section != "gateway" or self.name in _OF_THE_START

    @property
    def full_name(self) -> str:
        """As people write it: `gateway.wait_ms`."""
        return f"{self.section}.{self.name}" if self.section else self.name

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return f"COMPTROLLER_{self.name.upper()}"


OPTIONS = (
    Option("host", "", "127.0.0.1", "Address that the data plane listens on."),
    Option("port", "", 4000, "Port of the data plane.", 1, 65535),
    Option("workers", "", 1, "Gateway processes; 0: none on this machine.", 0, 256),
    Option("admin", "", True, "Whether the admin API runs on this machine."),
    Option("admin_host", "", "127.0.0.1", "Address that the admin API listens on."),
    Option("admin_port", "", 4001, "Port of the admin API; 0: any that is free.", 0, 65535),
    Option("data_dir", "", ".comptroller", "Folder of everything embedded, and of the logs."),
    Option("database_url", "", "", "URL of the PostgreSQL of runs; empty: SQLite in the data dir."),
    Option("orchestrate", "", True, "Whether this machine executes runs of workflows."),
    Option("redis_url", "", "", "URL of the ledger's Redis; empty: the embedded server."),
    Option("redis_unchecked", "", False, "You vouch for what that Redis does not tell of itself."),
    Option("record", "", True, "Whether this machine records events; some machine must."),
    Option("trust_ledger", "", False, "No records anywhere: a restarted ledger is believed."),
    Option("refusal_status", "gateway", 402, "Status of an exhausted budget.", 400, 499),
    Option("body_bytes_max", "gateway", 8 * 2**20, "Largest request body.", 1024, 2**30),
    Option("answer_bytes_max", "gateway", 64 * 2**20, "Largest whole answer.", 1024, 2**31),
    Option("output_tokens_default", "gateway", 8192, "Output cap where none is sent.", 1, 10**7),
    Option("output_tokens_least", "gateway", 1024, "Least output a lowered grant has.", 1, 10**7),
    Option(
        "learn_bounds", "gateway", True, "Whether a route that bills beyond its bound costs more."
    ),
    Option(
        "probation_concurrency", "gateway", 4, "Requests at once of a new route; 0: any.", 0, 10**6
    ),
    Option("usage_cost", "gateway", True, "Whether answers carry usage.cost in dollars."),
    Option(
        "retry_unknown",
        "gateway",
        False,
        "Whether what may have worked is tried again, and paid twice.",
    ),
    Option("wait_ms", "gateway", 2_000, "Wait for a budget that others hold.", 0, 60_000),
    Option("replay_answers_max", "gateway", 1_000, "Answers a worker can replay.", 0, 10**6),
    Option("replay_bytes_max", "gateway", 16 * 2**20, "Memory for all of them.", 0, 2**33),
    Option("replay_answer_bytes_max", "gateway", 2**20, "Largest one of them.", 0, 2**31),
    Option(
        "payloads",
        "gateway",
        "full",
        "Most that is recorded of prompts and answers: full, redacted, hash or off.",
        choices=PAYLOADS,
        part="ledger",  # which decides, together with the policies of the scopes
    ),
    Option("minted_keys_max", "gateway", 1_000, "Keys below one that delegates.", 0, 10_000),
    Option("drain_ms", "gateway", 30_000, "How long a stopping worker waits.", 0, 3_600_000),
    Option("connect_timeout_ms", "gateway", 10_000, "Connecting to a provider.", 1, 600_000),
    Option("first_byte_timeout_ms", "gateway", 600_000, "Wait for an answer.", 1, 7_200_000),
    Option("idle_timeout_ms", "gateway", 120_000, "Silence inside an answer.", 1, 7_200_000),
    Option("lease_ms", "ledger", 60_000, "A dead worker's reservation lives so long.", 300, 10**7),
    Option("outbox_events_max", "ledger", 1_000_000, "Events that may wait to be recorded.", 100),
    Option("bodies_bytes_max", "ledger", 2 * 2**30, "Payload bytes that may wait.", 2**20),
    Option(
        "endings_waiting_max",
        "ledger",
        10_000,
        "Settlements of a worker that may wait for the ledger.",
        1,
        10**6,
        part="endings",
    ),
    Option(
        "endings_bytes_max",
        "ledger",
        256 * 2**20,
        "Their bytes: of a worker in memory, of all on disk.",
        2**20,
        2**34,
        part="endings",
    ),
    Option(
        "endings_body_bytes_max",
        "ledger",
        2**20,
        "Largest answer that waits on disk with its settlement.",
        0,
        2**30,
        part="endings",
    ),
    Option("clickhouse_url", "records", "", "ClickHouse server's URL; empty: the embedded engine."),
    Option("clickhouse_user", "records", "default", "User at that server."),
    Option("clickhouse_password", "records", "", "Password at that server."),
    Option("clickhouse_cluster", "records", "", "Cluster to make replicated tables on; or empty."),
    Option("clickhouse_port", "records", 4002, "Loopback port of the embedded engine.", 0, 65535),
    Option("events_days", "recorder", 90, "Whole days that events are kept.", 35, 36_500),
    Option("bodies_days", "recorder", 30, "Whole days that payloads are kept.", 1, 36_500),
    Option("compact_every_ms", "recorder", 300_000, "How often the ledger forgets.", 100),
    Option("rest_ms", "recorder", 3_600_000, "Unused so long, a scope leaves the ledger.", 1_000),
    Option("snapshot_every_ms", "recorder", 600_000, "How often balances are added up.", 1_000),
    Option("linger_ms", "recorder", 250, "How long events wait to be written together.", 1, 60_000),
    Option("patience_ms", "recorder", 5_000, "Then events wait on disk.", 0, 600_000),
    Option("head_every_ms", "recorder", 60_000, "How often the chain is signed.", 100, 86_400_000),
    Option("spool_bytes_max", "recorder", 4 * 2**30, "Disk for events while ClickHouse is away."),
    Option(
        "attempts_max", "workflows", 200, "Steps of all runs that work at once here.", 1, 10_000
    ),
    Option("runs_max", "workflows", 2_000, "Runs at work at once here; others wait.", 1, 100_000),
    Option(
        "executor_lease_ms",
        "workflows",
        3_000,
        "An executor that is silent for so long loses its runs.",
        500,
        600_000,
    ),
    Option("runs_days", "workflows", 90, "Days that runs which are over are kept.", 1, 36_500),
    Option(
        "programs_folder",
        "workflows",
        "",
        "Workflows in this folder may run programs on this machine; empty: none may.",
    ),
    Option("gateway_url", "workflows", "", "What steps call; empty: the gateway of this machine."),
    Option("runs_secret", "workflows", "", "Keys of attempts come from it; empty: made here."),
    Option("callback_url", "workflows", "", "Where servers reach the admin API; empty: as we do."),
)
SECTIONS = ("gateway", "ledger", "records", "recorder", "workflows")
