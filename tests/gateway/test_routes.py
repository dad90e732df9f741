"""Routes are found by endpoint and name, and only those that a key may use."""

import dataclasses

import pytest

from budgets.keys import Key
from gateway.demo import DemoUpstream
from gateway.errors import NotAllowed, NotFound
from gateway.routes import Route, Routes
from gateway.upstream import Origin
from tests.gateway.fake_routes import fake_route

CHAT, OTHER = "/v1/chat/completions", "/v1/other"


def route(name: str, endpoint: str = CHAT) -> Route:
    """One of a server where nothing is sent."""
    made = fake_route(name, Origin("http", "127.0.0.1", 1), DemoUpstream())
    return dataclasses.replace(made, endpoint=endpoint)


def key(*models: str) -> Key:
    """One that may use these, or all."""
    return Key(id="k", name="k", scope="acme", created_at_ms=0, models=models)


ROUTES = Routes([route("both"), route("both", OTHER), route("one"), route("other", OTHER)])


def test_a_name_is_found_where_it_is_served() -> None:
    """One name at two endpoints is two routes."""
    assert ROUTES.find(key(), "both", CHAT).deployments[0].endpoint == CHAT
    assert ROUTES.find(key(), "both", OTHER).deployments[0].endpoint == OTHER


def test_who_asks_at_the_wrong_endpoint_is_told_the_right_one() -> None:
    """And who asks for what there is not is told what there is."""
    with pytest.raises(NotFound, match=f"'one' is not served at {OTHER}, but at {CHAT}"):
        ROUTES.find(key(), "one", OTHER)
    with pytest.raises(NotFound, match="unknown model 'two'; this gateway serves both, one, other"):
        ROUTES.find(key(), "two", CHAT)


def test_a_key_s_list_comes_first() -> None:
    """What it may not use it does not learn of."""
    with pytest.raises(NotAllowed):
        ROUTES.find(key("one"), "both", CHAT)
    with pytest.raises(NotAllowed):
        ROUTES.find(key("one"), "absent", CHAT)


def test_each_model_is_listed_once() -> None:
    """In the order of the configuration, whatever it is served at."""
    assert [each.name for each in ROUTES.models(key())] == ["both", "one", "other"]
    assert [each.name for each in ROUTES.models(key("o*"))] == ["one", "other"]
