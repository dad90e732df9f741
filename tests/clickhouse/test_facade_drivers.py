"""Drivers, as they come, against the facade."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.clickhouse.conftest import Served


@pytest.fixture
def driver(served: Served) -> Iterator[Any]:
    """clickhouse-connect's synchronous client, as it comes, for one organisation."""
    from clickhouse_connect import get_client  # noqa: PLC0415

    client = get_client(
        host="127.0.0.1",
        port=served.port,
        username="acme",
        password=served.auth("acme")[1],
        database="comptroller",
        dedicated_pool=True,
    )
    yield client
    client.close()


def test_clickhouse_connect(driver: Any) -> None:
    """Connecting, queries, parameters, empty results, streams, commands, raw queries."""
    assert driver.ping()
    query = "SELECT org, count() FROM events WHERE kind = {k:UInt8} GROUP BY org"
    assert driver.query(query, parameters={"k": 2}).result_rows == [("acme", 1000)]
    assert driver.query("SELECT * FROM events LIMIT 0").column_names[:2] == ("org", "seq")
    assert driver.query("SELECT * FROM events WHERE kind = 7").result_rows == []
    with driver.query_rows_stream("SELECT number FROM numbers(200000)") as rows:
        assert sum(1 for _ in rows) == 200_000
    assert driver.command("SELECT count() FROM events") == 3_000
    assert driver.raw_query("SELECT 1 AS a", fmt="JSONEachRow") == b'{"a":1}\n'
    assert driver.query("SELECT * FROM {t:Identifier}".replace("{t:Identifier}", "spend")).row_count


def test_clickhouse_connect_raises_what_went_wrong(driver: Any) -> None:
    """Refusals have their code; an answer that was cut short raises, never ends early."""
    from clickhouse_connect.driver.exceptions import DatabaseError  # noqa: PLC0415

    for query, code in (("SELECT * FROM system.processes", 497), ("SELEC 1", 62)):
        with pytest.raises(DatabaseError) as caught:
            driver.query(query)
        assert caught.value.code == code
    broken = "SELECT toUInt8(if(number = 290000, 'oops', '1')) FROM numbers(300000)"
    with pytest.raises(Exception, match="Cannot parse string 'oops'"):
        list(driver.query(broken).result_rows)


def test_what_grafana_s_plugin_asks_when_it_connects(served: Served) -> None:
    """clickhouse-go's questions over HTTP, and the plugin's lists of tables and columns."""
    http = httpx.Client(base_url=served.url, auth=served.auth("reader"), verify=False)
    hello = "SELECT displayName(), version(), revision(), timezone()"
    answer = http.post("/", params={"default_format": "Native"}, content=hello)
    assert answer.status_code == 200
    assert answer.content[:2] == b"\x04\x01"  # Native: four columns, one row
    assert "events" in http.post("/", content="SHOW TABLES FROM comptroller").text.split("\n")
    assert http.post("/", content="DESC TABLE `comptroller`.`events`").text.startswith("org\t")
    http.close()
