"""Where the records are: the embedded engine and its port, or a ClickHouse server."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RecordsOptions:
    """`clickhouse_url` is empty for the embedded engine, which answers ClickHouse's HTTP protocol
    on `clickhouse_port` of loopback (0: any free one). `clickhouse_cluster` names the cluster that
    tables are made on, replicated; empty: a single server."""

    clickhouse_url: str = ""
    clickhouse_user: str = "default"
    clickhouse_password: str = field(default="", repr=False)
    clickhouse_cluster: str = ""
    clickhouse_port: int = 4002
