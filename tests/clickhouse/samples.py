"""Two organisations in a database, and copies that hold one of them only."""

from clickhouse.engine import Engine

ACME_ROWS = 3_000
GLOBEX_ROWS = 3_000
SECRET = "globex-secret"

_MERGE_TREE = "(org String, seq UInt64, kind UInt8, amount Int64, note String, at DateTime('UTC'))"
TABLES = (
    f"""CREATE TABLE events {_MERGE_TREE} ENGINE = MergeTree ORDER BY (org, seq)
        SETTINGS index_granularity = 512, non_replicated_deduplication_window = 100""",
    """ALTER TABLE events ADD PROJECTION by_kind (SELECT * ORDER BY kind, at)""",
    """ALTER TABLE events
        ADD PROJECTION per_kind (SELECT kind, count(), sum(amount) GROUP BY kind)""",
    f"CREATE TABLE replaced {_MERGE_TREE} ENGINE = ReplacingMergeTree ORDER BY (org, seq)",
    f"CREATE TABLE only_acme_events {_MERGE_TREE} ENGINE = MergeTree ORDER BY (org, seq)",
    f"""CREATE TABLE only_acme_replaced {_MERGE_TREE}
        ENGINE = ReplacingMergeTree ORDER BY (org, seq)""",
    "SYSTEM STOP MERGES",  # so that FINAL has something to do
    "CREATE TABLE heads (day Date, note String) ENGINE = MergeTree ORDER BY day",
    """CREATE VIEW spend AS SELECT org, kind, sum(amount) AS total
        FROM comptroller.events GROUP BY org, kind""",
    """CREATE VIEW only_acme_spend AS SELECT org, kind, sum(amount) AS total
        FROM comptroller.only_acme_events GROUP BY org, kind""",
    "CREATE VIEW head_notes AS SELECT note FROM comptroller.heads",
    "CREATE VIEW one_kind AS SELECT * FROM comptroller.events WHERE kind = {kind:UInt8}",
    "CREATE TABLE totals (org String, total Int64) ENGINE = SummingMergeTree ORDER BY org",
    """CREATE MATERIALIZED VIEW totals_feed TO totals AS
        SELECT org, sum(amount) AS total FROM comptroller.events GROUP BY org""",
)
# kind is 1 to 3 for acme and 7 for globex; seq of globex goes on where acme's ends; amounts of
# globex are negative; a note of globex is no number.
_ROWS = f"""
SELECT if(acme, 'acme', 'globex'), number, if(acme, 1 + number % 3, 7), if(acme, number, -number),
       if(acme, toString(number), '{SECRET}'), toDateTime('2026-11-01', 'UTC') + number
FROM (SELECT number, number < {ACME_ROWS} AS acme FROM numbers({ACME_ROWS + GLOBEX_ROWS}))
"""


def fill(engine: Engine) -> None:
    """Makes the tables and their rows."""
    for statement in TABLES:
        engine.command(statement)
    engine.command(f"INSERT INTO events {_ROWS}")
    engine.command("INSERT INTO only_acme_events SELECT * FROM events WHERE org = 'acme'")
    for prefix in ("", "only_acme_"):  # half of the rows twice
        for rows in ("WHERE 1", "WHERE seq % 2 = 0"):
            engine.command(f"INSERT INTO {prefix}replaced SELECT * FROM {prefix}events {rows}")
    engine.command(f"INSERT INTO heads VALUES ('2026-11-01', '{SECRET}')")
