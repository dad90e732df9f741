"""Keys over the admin API: what a secret may do is the ledger's to say, at the next call."""

import asyncio
from typing import Any

import pytest

from budgets.keys import KeyRing
from budgets.plan import ScopePath
from gateway.events import KeyEvents
from tests.budgets.harness import dollars, granted, refused
from tests.console.desk import Console

SHAPE = {
    *("id", "name", "scope", "budget_scope", "status", "models", "endpoints", "agent", "tags"),
    *("created_at_ms", "expires_at_ms", "delegates", "subscopes", "minted_by"),
}
WANTED = {"name": "ci", "scope": "acme/research"}


def worker(console: Console) -> KeyRing:
    """A gateway worker's key ring, with a cache of its own."""
    return KeyRing(console.desk.session, console.desk.administration, KeyEvents("worker"))


async def path_of(ring: KeyRing, secret: str) -> ScopePath | None:
    """Where this secret's requests count."""
    found = await ring.find(secret.encode())
    return found[1] if found else None


async def test_a_minted_key_works_and_is_what_was_asked_for(console: Console) -> None:
    """Every field of the contract comes back, the secret once, and the gateway finds the key by it.
    The organisation was new."""
    wanted = {
        **WANTED,
        "models": ["gpt-5*"],
        "endpoints": ["/v1/chat/*"],
        "expires_in": "30d",
        "budget": [{"usd": "1.50", "window": "day"}],
        "agent": "ci-bot",
        "tags": {"team": "a"},
        "payloads": "hash",
        "delegates": True,
    }
    answer = await console.call("POST", "/v1/keys", wanted)
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {*SHAPE, "key"}
    secret = made.pop("key")
    assert secret.startswith("ck-")
    for name in ("name", "scope", "models", "endpoints", "agent", "tags", "delegates"):
        assert made[name] == wanted[name]
    assert (made["status"], made["minted_by"]) == ("active", "")
    assert made["budget_scope"] == f"acme/research/{made['id']}"
    assert made["expires_at_ms"] - made["created_at_ms"] == 30 * 86_400_000
    shown = await console.call("GET", f"/v1/keys/{made['id']}")
    assert shown.json() == made
    assert secret not in shown.text
    found = await worker(console).find(secret.encode())
    assert found is not None
    assert (found[0].id, found[0].delegates) == (made["id"], True)
    budget = await console.done("GET", f"/v1/budgets?scope={made['budget_scope']}")
    assert budget["limits"][0]["limit"] == "1.50"
    assert (budget["payloads"], budget["kind"]) == ("hash", "key")


async def test_every_act_is_an_event_by_its_token(console: Console) -> None:
    """Who minted, rotated and revoked is in the log."""
    ann = await console.done("POST", "/v1/tokens", {"name": "ann", "role": "operator"})
    key = await console.done("POST", "/v1/keys", WANTED, token=ann["token"])
    path = f"/v1/keys/{key['id']}"
    await console.done("POST", f"{path}/rotate", {"overlap": "0s"}, token=ann["token"])
    await console.done("DELETE", path)
    events = await console.events("acme")
    kinds = [kind for kind, _ in events]
    assert kinds == [
        *("budget_changed", "key_minted"),
        *("budget_changed", "key_minted"),
        "key_revoked",
    ]
    assert all(b'"by":"ann"' in event for _, event in events[:4])
    assert b'"by":"first"' in events[4][1]
    assert key["key"].encode() not in b"".join(event for _, event in events)


async def test_a_revoked_key_is_dead_at_the_next_call(console: Console) -> None:
    """On a worker that has it cached, too; it stays in the list as revoked; twice is once."""
    key = await console.done("POST", "/v1/keys", WANTED)
    ring = worker(console)
    path = await path_of(ring, key["key"])
    granted(await console.desk.ask(dollars(1), path=path))
    shown = await console.done("DELETE", f"/v1/keys/{key['id']}")
    assert shown["status"] == "revoked"
    refused(await console.desk.ask(dollars(1), path=path), "CLOSED")
    assert await worker(console).find(key["key"].encode()) is None
    assert await console.done("DELETE", f"/v1/keys/{key['id']}") == shown
    assert [kind for kind, _ in await console.events("acme")].count("key_revoked") == 1
    (listed,) = (await console.done("GET", "/v1/keys"))["keys"]
    assert listed == shown
    rotate = ("POST", f"/v1/keys/{key['id']}/rotate")
    await console.refused(409, "conflict", *rotate, {})


async def test_rotation_without_overlap_ends_the_old_secret_at_once(console: Console) -> None:
    """For a secret that leaked: a worker that has it cached refuses it at its next call, the new
    one goes on with the same id, scope and budget; again and again."""
    key = await console.done("POST", "/v1/keys", {**WANTED, "budget": [{"requests": 10}]})
    ring, secret = worker(console), key["key"]
    for _ in range(3):
        path = await path_of(ring, secret)
        granted(await console.desk.ask(dollars(1), path=path))
        rotated = await console.done("POST", f"/v1/keys/{key['id']}/rotate", {"overlap": "0s"})
        assert {**rotated, "key": 0} == {**key, "key": 0}
        refused(await console.desk.ask(dollars(1), path=path), "FENCED")
        assert await worker(console).find(secret.encode()) is None
        secret = rotated["key"]
    path = await path_of(ring, secret)
    granted(await console.desk.ask(dollars(1), path=path))
    budget = await console.done("GET", f"/v1/budgets?scope={key['budget_scope']}")
    assert budget["limits"][0]["reserved"] == 4


async def test_rotation_with_overlap_lets_both_work_until_it_is_over(console: Console) -> None:
    """The old secret gets an end, in its record and at the server, and keeps the key's other facts;
    the default is an hour."""
    key = await console.done("POST", "/v1/keys", WANTED)
    now_ms = console.parts.session.clock.now_ms()
    rotated = await console.done("POST", f"/v1/keys/{key['id']}/rotate")
    ring = worker(console)
    old, new = await ring.find(key["key"].encode()), await ring.find(rotated["key"].encode())
    assert old is not None
    assert new is not None
    assert old[1] == new[1]
    granted(await console.desk.ask(dollars(1), path=old[1]))
    assert old[0].expires_at_ms is not None
    assert 0 <= old[0].expires_at_ms - now_ms - 3_600_000 < 60_000
    assert new[0].expires_at_ms is None
    record = f"comptroller:key:{old[0].secret_sha256}"
    left_ms = await console.desk.transport.command("PTTL", record)
    assert isinstance(left_ms, int)
    assert 3_500_000 < left_ms <= 3_600_000


async def test_a_rotation_at_once_ends_overlaps_too(console: Console) -> None:
    """After a leak no earlier secret is left, whatever was promised to it."""
    key = await console.done("POST", "/v1/keys", WANTED)
    ring, rotate = worker(console), f"/v1/keys/{key['id']}/rotate"
    paths = [await path_of(ring, key["key"])]
    second = await console.done("POST", rotate, {"overlap": "1d"})
    paths.append(await path_of(ring, second["key"]))
    third = await console.done("POST", rotate, {"overlap": "0s"})
    for path in paths:
        refused(await console.desk.ask(dollars(1), path=path), "FENCED")
    granted(await console.desk.ask(dollars(1), path=await path_of(ring, third["key"])))


async def test_of_two_rotations_at_once_one_wins(console: Console) -> None:
    """The other is told, and no secret stays valid that the key does not know."""
    key = await console.done("POST", "/v1/keys", WANTED)
    rotate = ("POST", f"/v1/keys/{key['id']}/rotate", {"overlap": "1h"})
    answers = await asyncio.gather(*(console.call(*rotate) for _ in range(8)))
    won = [each.json()["key"] for each in answers if each.status_code == 200]
    assert {each.status_code for each in answers} <= {200, 409}
    assert won
    record_keys = await console.desk.transport.command("KEYS", "comptroller:key:*")
    assert isinstance(record_keys, list)
    ttls = [await console.desk.transport.command("TTL", each) for each in record_keys]
    assert ttls.count(-1) == 1
    assert len(record_keys) == len(won) + 1


@pytest.mark.parametrize("overlap", ["1s", "29s", "91d", "soon", "-1s", ""])
async def test_an_overlap_that_no_cache_could_keep(console: Console, overlap: str) -> None:
    """Shorter than a worker's cache, or not a duration: refused before anything happens."""
    key = await console.done("POST", "/v1/keys", WANTED)
    rotate = ("POST", f"/v1/keys/{key['id']}/rotate", {"overlap": overlap})
    error = await console.refused(400, "invalid_request_error", *rotate)
    assert error["param"] == "overlap"
    assert await worker(console).find(key["key"].encode()) is not None


@pytest.mark.parametrize(
    ("fields", "param", "says"),
    [
        ({"scope": "a b"}, "scope", "scope segment"),
        ({"scope": "/".join("a" * 16)}, "scope", "16 segments"),
        ({"name": ""}, "name", ""),
        ({"models": []}, "models", "at least 1"),
        ({"models": [""]}, "models.0", ""),
        ({"models": "gpt-5"}, "models", ""),
        ({"endpoints": [5]}, "endpoints.0", ""),
        ({"expires_in": "0s"}, "expires_in", ""),
        ({"expires_in": "1 month"}, "expires_in", "30d"),
        ({"budget": [{"usd": "-1"}]}, "budget.limits.0", "usd is dollars"),
        ({"budget": [{"usd": "1"}, {"usdd": "1"}]}, "budget.limits.1.usdd", "did you mean 'usd'"),
        ({"budget": {"limit": []}}, "budget.limit", "unknown field"),
        ({"budget": {"payloads": "off"}, "payloads": "off"}, "payloads", "already"),
        ({"payloads": "none"}, "payloads", ""),
        ({"subscopes": ["users"]}, "subscopes", "session, user, tag"),
        ({"tags": {"a": 5}}, "tags.a", ""),
        ({"agent": "a\nb"}, "agent", ""),
        ({"delegates": "yes"}, "delegates", ""),
        ({"secret": "x"}, "secret", "unknown field"),
    ],
)
async def test_a_key_that_cannot_be(
    console: Console, fields: dict[str, Any], param: str, says: str
) -> None:
    """Each bad field is named, and no key and no organisation is made."""
    body = {**WANTED, **fields}
    error = await console.refused(400, "invalid_request_error", "POST", "/v1/keys", body)
    assert error["param"] == param
    assert says in error["message"]
    assert await console.parts.overview.organisations() == []


async def test_money_in_json_is_exact(console: Console) -> None:
    """A JSON number becomes no float on its way: nine decimals stay, a tenth is refused."""
    body = b'{"name": "ci", "scope": "acme", "budget": [{"usd": 0.123456789}]}'
    headers = {"content-type": "application/json"}
    key = await console.done("POST", "/v1/keys", content=body, headers=headers)
    budget = await console.done("GET", f"/v1/budgets?scope={key['budget_scope']}")
    assert budget["limits"][0]["limit_nusd"] == 123_456_789
    more = body.replace(b"0.123456789", b"1000000.1234567891")
    await console.refused(
        *(400, "invalid_request_error", "POST", "/v1/keys"), content=more, headers=headers
    )


async def test_keys_are_listed_in_pages(console: Console) -> None:
    """Every key once, over organisations, by scope, whatever the size of a page."""
    ids = []
    for n in range(5):
        scope = ("acme/a", "acme/a/b", "acme/ab", "globex", "initech/x")[n]
        key = await console.done("POST", "/v1/keys", {"name": f"k{n}", "scope": scope})
        ids.append(key["id"])
    for size in (1, 2, 5, 100):
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await console.done("GET", f"/v1/keys?limit={size}&after={after}")
            assert set(page) == {"keys", "next"}
            found += [each["id"] for each in page["keys"]]
            after = page["next"]
        assert sorted(found) == sorted(ids)
        assert len(found) == 5
    below = await console.done("GET", "/v1/keys?scope=acme/a")
    assert {each["name"] for each in below["keys"]} == {"k0", "k1"}
    of = await console.done("GET", "/v1/keys?organisation=globex")
    assert [each["name"] for each in of["keys"]] == ["k3"]
    await console.refused(404, "not_found", "GET", "/v1/keys?organisation=nobody")


async def test_an_id_that_two_organisations_have(console: Console) -> None:
    """As keys of the configuration file may: which one is meant has to be said."""
    for organisation in ("acme", "globex"):
        key = await console.done("POST", "/v1/keys", {"name": "k", "scope": organisation})
        index = f"{{{organisation}}}:keys"
        record = await console.desk.transport.command("HGET", index, key["id"])
        assert isinstance(record, bytes)
        same = record.replace(key["id"].encode(), b"key-ci")
        await console.desk.transport.command("HSET", index, "key-ci", same)
    error = await console.refused(409, "conflict", "GET", "/v1/keys/key-ci")
    assert "acme, globex" in error["message"]
    shown = await console.done("GET", "/v1/keys/key-ci?organisation=globex")
    assert shown["scope"] == "globex"
    await console.refused(404, "not_found", "GET", "/v1/keys/key-none")


async def test_nothing_is_minted_where_nothing_could_be_used(console: Console) -> None:
    """Below a scope that is closed for good."""
    await console.done("POST", "/v1/keys", {"name": "k", "scope": "acme/run/step"})
    await console.desk.administration.set_state("acme/run", "close", "workflow_halted", b"{}")
    body = {"name": "k", "scope": "acme/run/step"}
    error = await console.refused(409, "conflict", "POST", "/v1/keys", body)
    assert "acme/run is closed" in error["message"]


async def test_a_frozen_and_an_expired_key_say_so(console: Console) -> None:
    """Status is what the ledger and the clock say now."""
    key = await console.done("POST", "/v1/keys", {**WANTED, "expires_in": "1ms"})
    assert (await console.done("GET", f"/v1/keys/{key['id']}"))["status"] == "expired"
    other = await console.done("POST", "/v1/keys", WANTED)
    await console.done("POST", "/v1/budgets/freeze", {"scope": other["budget_scope"]})
    assert (await console.done("GET", f"/v1/keys/{other['id']}"))["status"] == "frozen"
