"""The ledger's own account: it asks what the ledger asks, to the letter, and nothing else."""

import httpx
import pytest

from clickhouse.accounts import MEMORY
from clickhouse.query import RECALLED, load_query
from tests.clickhouse.conftest import Served
from tests.clickhouse.wire import code_of


@pytest.mark.parametrize(
    "query",
    [
        "SELECT 1",
        "SELECT * FROM states",
        "SELECT name, value, readonly FROM system.settings LIMIT 10000",
        "INSERT INTO comptroller.events (org) FORMAT JSONCompactEachRow\n[]",
        load_query("remembered") + " LIMIT 1",
        "-- \n" + load_query("remembered"),
        load_query("remembered").replace("states", "events"),
        load_query("snapshot"),
    ],
)
def test_any_other_query_is_refused(served: Served, query: str) -> None:
    """However near it comes: whoever has the password learns what a ledger does."""
    answer = httpx.post(served.url, content=query, auth=served.auth(MEMORY), verify=False)
    assert code_of(answer) == (403, 497)


def test_its_queries_are_refused_to_readers(served: Served) -> None:
    """They name tables that hold hashes of secrets."""
    for user in ("reader", "acme"):
        answer = httpx.post(
            served.url,
            params={"param_org": "acme", "param_scopes": "[]", "param_fields": "[]"}
            | {"param_keys": "[]", "param_after_seq": "0", "param_through_seq": "0"},
            content=load_query("remembered"),
            auth=served.auth(user),
            verify=False,
        )
        assert code_of(answer)[0] >= 400


def test_no_organisation_has_its_name() -> None:
    """A scope's segment cannot begin so: its password opens no organisation, nor theirs this."""
    assert MEMORY.startswith("_")
    assert set(RECALLED) == {"remembered", "snapshot_place"}
