"""Budgets as users write them: exact amounts, errors that say what to write instead, and a stored
form that loses nothing."""

from decimal import Decimal
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import example, given, settings

from budgets.policy import (
    AMOUNT_MAX,
    DIMENSIONS,
    LIMITS_PER_SCOPE_MAX,
    MODELS_PER_LIMIT_MAX,
    PAYLOADS,
    SEGMENTS_MAX,
    WINDOWS,
    Limit,
    Policy,
    PolicyInvalid,
    ancestors,
    decode_policy,
    encode_policy,
    named_after,
    parse_amount,
    parse_policy,
    parse_scope,
    strictest,
)

QUICK = settings(max_examples=200, deadline=None, database=None)


def test_a_budget_is_a_list_or_a_mapping() -> None:
    """Both forms of the documentation, with every field."""
    short = parse_policy([{"usd": "100.00", "window": "month"}, {"requests": 600}])
    assert [(x.dimension, x.window, x.amount) for x in short.limits] == [
        ("usd", "month", 100 * 10**9),
        ("requests", "total", 600),
    ]
    assert (short.on_exceed, short.share_of_free_percent) == ("clamp", 25)
    whole = parse_policy(
        {
            "limits": [{"tokens": 5, "window": "minute", "models": ["b*", "a"]}],
            "per_child": [{"concurrency": 2}],
            "on_exceed": "refuse",
            "share_of_free": "0.5",
            "output_tokens_default": 8192,
            "payloads": "hash",
            "kind": "project",
        }
    )
    assert whole.limits[0].models == ("a", "b*")
    assert [(x.dimension, x.window, x.amount) for x in whole.per_child] == [
        ("concurrency", "total", 2)
    ]
    assert (whole.on_exceed, whole.share_of_free_percent) == ("refuse", 50)
    assert (whole.output_tokens_default, whole.kind) == (8192, "project")
    assert (short.payloads, whole.payloads) == (None, "hash")


@pytest.mark.parametrize("payloads", PAYLOADS)
def test_payloads_are_one_of_four(payloads: str) -> None:
    """Each name is taken as it is; `off` also as what YAML makes of it without quotes."""
    assert parse_policy({"payloads": payloads}).payloads == payloads
    assert parse_policy({"payloads": False}).payloads == "off"


def test_the_strictest_policy_for_payloads_is_the_one_that_records_least() -> None:
    """full < redacted < hash < off, in any order of asking."""
    for n, each in enumerate(PAYLOADS):
        assert strictest(PAYLOADS[: n + 1]) == strictest(reversed(PAYLOADS[: n + 1])) == each
    assert PAYLOADS == ("full", "redacted", "hash", "off")


@pytest.mark.parametrize(
    ("value", "nusd"),
    [
        ("0", 0),
        ("0.000000001", 1),
        ("5", 5 * 10**9),
        ("5.00", 5 * 10**9),
        ("0.1", 10**8),
        ("0.3", 3 * 10**8),
        ("1234567.123456789", 1_234_567_123_456_789),
        ("8000000", AMOUNT_MAX),
        (5, 5 * 10**9),
        (0.1, 10**8),
        (2.675, 2_675_000_000),
    ],
)
def test_dollars_are_exact(value: object, nusd: int) -> None:
    """What is written in decimal is what is stored, to the nano-dollar."""
    assert parse_amount("usd", value) == nusd


@given(nusd=st.integers(0, AMOUNT_MAX))
@QUICK
def test_every_amount_of_dollars_survives(nusd: int) -> None:
    """Any number of nano-dollars written as dollars comes back."""
    assert parse_amount("usd", str(Decimal(nusd).scaleb(-9))) == nusd
    assert parse_amount("usd", f"{nusd // 10**9}.{nusd % 10**9:09d}") == nusd


@pytest.mark.parametrize(
    "value",
    [
        "-1",
        "-0.000000001",
        "0.0000000001",
        "0.10000000000000000000000000000000000001",
        "1e-2000000",
        "8000000.000000001",
        "1e999999",
        "1e99999999999",
        "NaN",
        "sNaN",
        "Infinity",
        "five",
        "",
        "$5",
        "1,000",
        True,
        None,
        [],
        float("nan"),
        float("inf"),
    ],
)
def test_what_is_no_amount_of_dollars_says_how_to_write_one(value: object) -> None:
    """Nothing is rounded, guessed or let through, however large its exponent."""
    with pytest.raises(PolicyInvalid, match=r"usd is (dollars as a decimal string|0 to 8000000)"):
        parse_amount("usd", value)


@pytest.mark.parametrize("dimension", ["tokens", "requests", "concurrency"])
@pytest.mark.parametrize("value", [-1, AMOUNT_MAX + 1, 1.0, "5", True, None])
def test_counts_are_whole_numbers(dimension: Any, value: object) -> None:
    """Tokens, requests and requests in flight are counted, not measured."""
    assert parse_amount(dimension, 0) == 0
    assert parse_amount(dimension, AMOUNT_MAX) == AMOUNT_MAX
    with pytest.raises(PolicyInvalid, match=f"{dimension} is a whole number from 0"):
        parse_amount(dimension, value)


USD: dict[str, object] = {"usd": "1"}
NO_PAYLOADS: list[object] = ["none", "Off", "", None, True, 0, ["off"], {}]


MISTAKES: list[tuple[Any, str]] = [
    (None, "a budget is a list of limits, as in"),
    ("usd: 5", "a budget is a list of limits, as in"),
    ({"limit": []}, r"unknown field 'limit' in a budget; known: kind, limits"),
    ({"limits": {"usd": "5"}}, "limits is a list, as in"),
    ({"per_child": "x"}, "per_child is a list, as in"),
    (["usd"], "a limit is a mapping, as in"),
    ([{}], "a limit names one of usd, tokens, requests, concurrency"),
    ([{"dollars": 5}], "a limit names one of usd"),
    ([{"usd": "1", "tokens": 5}], "a limit names one of usd"),
    ([{**USD, "per": "day"}], "unknown field 'per' in a limit; known: window, models"),
    ([{**USD, 5: "day", "x": 1}], "unknown field .* in a limit; known: window, models"),
    ([{**USD, "window": "year"}], "window is one of total, minute, hour, day, week, month"),
    ([{**USD, "window": None}], "window is one of"),
    ([{**USD, "window": ["day"]}], "window is one of"),
    ([{"concurrency": 5, "window": "day"}], "concurrency has no window"),
    ([USD, USD], "names one dimension and window twice: keep the lower"),
    ([{**USD, "models": "gpt"}], r"models is a list of patterns, as in \['gpt-5\*'\]"),
    ([{**USD, "models": [5]}], "models is a list of patterns"),
    (
        [{**USD, "models": [str(n) for n in range(MODELS_PER_LIMIT_MAX + 1)]}],
        f"models holds at most {MODELS_PER_LIMIT_MAX}",
    ),
    (
        [{**USD, "models": [str(n)]} for n in range(LIMITS_PER_SCOPE_MAX + 1)],
        f"limits holds at most {LIMITS_PER_SCOPE_MAX}",
    ),
    ({"on_exceed": "halt"}, "on_exceed is clamp or refuse, not 'halt'"),
    ({"on_exceed": []}, "on_exceed is clamp or refuse"),
    ({"kind": 5}, "kind is a word"),
    ({"share_of_free": 0}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": "1.01"}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": "0.255"}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": True}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": "NaN"}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": "1e999999"}, "share_of_free is from 0.01 to 1"),
    ({"share_of_free": None}, "share_of_free is from 0.01 to 1"),
    ({"output_tokens_default": 0}, "output_tokens_default is a whole number from 1"),
    ({"output_tokens_default": "8192"}, "output_tokens_default is a whole number from 1"),
    *(
        (
            {"payloads": value},
            r"payloads is one of full, redacted, hash, off \(leave it out to inherit\), not",
        )
        for value in NO_PAYLOADS
    ),
]


@pytest.mark.parametrize(("document", "message"), MISTAKES)
def test_an_error_says_what_to_write_instead(document: object, message: str) -> None:
    """Every mistake is a PolicyInvalid that names the field and the right form."""
    with pytest.raises(PolicyInvalid, match=message):
        parse_policy(document)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(("total", "day", "5.00", "clamp", "1e999999", "-0", "hash")),
)
NAMES = st.one_of(
    st.sampled_from(("usd", "tokens", "requests", "concurrency", "window", "models")),
    st.sampled_from(("limits", "per_child", "on_exceed", "share_of_free", "kind", "payloads")),
    SCALARS,
)
DOCUMENTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=12,
)


@given(document=DOCUMENTS)
@example(document={"limits": [{"usd": 10**400}]})
@settings(max_examples=500, deadline=None, database=None)
def test_anything_that_yaml_can_hold_is_a_budget_or_an_error_of_ours(document: object) -> None:
    """No document raises anything else, and what is taken can be stored and read."""
    try:
        policy = parse_policy(document)
    except PolicyInvalid:
        return
    assert decode_policy(encode_policy(policy)) == policy


@st.composite
def limit_lists(draw: st.DrawFn) -> tuple[Limit, ...]:
    wanted = draw(
        st.lists(
            st.tuples(
                st.sampled_from(DIMENSIONS),
                st.sampled_from(WINDOWS),
                st.lists(st.text(max_size=8), max_size=2).map(lambda each: tuple(sorted(each))),
            ),
            unique=True,
            max_size=4,
        )
    )
    amounts = st.integers(0, AMOUNT_MAX).map(str)
    ids = st.integers(1, 2**53).map(lambda seq: f"{seq}.0")
    return tuple(
        Limit(draw(ids), dimension, window, draw(amounts), models)
        for dimension, window, models in wanted
    )


POLICIES = st.builds(
    Policy,
    kind=st.text(max_size=8),
    limits=limit_lists(),
    per_child=limit_lists(),
    on_exceed=st.sampled_from(("clamp", "refuse")),
    share_of_free_percent=st.integers(1, 100),
    output_tokens_default=st.one_of(st.none(), st.integers(1, 10**7)),
    payloads=st.one_of(st.none(), st.sampled_from(PAYLOADS)),
)


@given(policy=POLICIES)
@QUICK
def test_the_stored_form_loses_nothing(policy: Policy) -> None:
    """Amounts above 2**53 / 1000, odd texts, defaults: all come back; nothing stored is nothing."""
    assert decode_policy(encode_policy(policy)) == policy
    assert decode_policy(b"") == Policy()


@given(policy=POLICIES, earlier=POLICIES)
@QUICK
def test_limits_keep_the_ids_that_they_had(policy: Policy, earlier: Policy) -> None:
    """A limit takes the id of the one with its identity in the same list, and no two new ones
    share a placeholder."""
    named = named_after(policy, earlier)
    new: list[str] = []
    for now, before in ((named.limits, earlier.limits), (named.per_child, earlier.per_child)):
        ids = {limit.identity: limit.id for limit in before}
        assert all(limit.id == ids.get(limit.identity, limit.id) for limit in now)
        new += [limit.id for limit in now if limit.identity not in ids]
    assert len(set(new)) == len(new)
    assert all(each.startswith("@.") for each in new)
    assert [limit.identity for limit in named.limits] == [x.identity for x in policy.limits]


def test_patterns_are_those_of_a_shell() -> None:
    """`*`, `?` and sets, with case, over the whole name; no pattern is every model."""
    limit = Limit("1.0", "usd", "total", "1", ("gpt-5*", "o[13]", "demo/?"))
    for model in ("gpt-5", "gpt-5-mini", "o1", "demo/x"):
        assert limit.covers(model)
    for model in ("GPT-5", "xgpt-5", "o2", "demo/xy", ""):
        assert not limit.covers(model)
    assert Limit("1.0", "usd", "total", "1").covers("anything")


@pytest.mark.parametrize(
    "scope", ["acme", "a/b", "acme/run-42/user@example.com", "/".join("a" * 16), "A" * 64, "0/1"]
)
def test_scopes_that_are_ones(scope: str) -> None:
    """One to sixteen segments."""
    assert parse_scope(scope) == tuple(scope.split("/"))


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "/",
        "acme/",
        "/acme",
        "acme//x",
        "acme/../x",
        "acme/.hidden",
        "acme/a b",
        "acme/a\n",
        "acme/ä",
        "acme/{x}",
        "acme/x*",
        "A" * 65,
        "/".join("a" * (SEGMENTS_MAX + 1)),
        None,
        5,
    ],
)
def test_scopes_that_are_none_say_why(scope: Any) -> None:
    """No braces (hash tags), blanks, controls, empty or hidden segments; not too deep or long."""
    with pytest.raises(PolicyInvalid, match=r"segment.* must start with|has 1 to 16 segments"):
        parse_scope(scope)


def test_ancestors_are_top_down_with_the_scope_itself() -> None:
    """The order in which states are answered."""
    assert ancestors("acme") == ("acme",)
    assert ancestors("acme/a/b") == ("acme", "acme/a", "acme/a/b")
