"""The command that a refusal names: typed as it stands, it raises the one limit that refused, and
changes nothing else of the budget."""

import re
import shlex
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from budgets.allotments import Allotment
from budgets.answers import Refusal
from budgets.plan import Bound
from budgets.policy import AMOUNT_MAX, parse_policy
from comptroller.cli import app
from gateway.raising import how_to_raise

SCOPE = "acme/research@x.y:z"


def refusal_of(document: object, nth: int, **amounts: Any) -> tuple[Refusal, Bound]:
    """The nth limit of a budget refuses."""
    policy = parse_policy(document)
    bound = Bound(SCOPE, policy.limits[nth], 0, policy)
    return Refusal("EXHAUSTED", SCOPE, bound, **amounts), bound


def typed(sentence: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the real command line makes of the command and would send to the admin API."""
    (command,) = re.findall(r"`([^`]+)`", sentence)
    sent: list[Any] = []

    class Client:
        def budget(self, scope: str) -> Any:
            return {"scope": scope, "state": "open", "limits": []}

        def set_budget(self, document: Any) -> Any:
            sent.append(document)
            return {**document, "limits": []}

    @contextmanager
    def admin(*_: object) -> Any:
        yield Client()

    monkeypatch.setattr("comptroller.commands.budget.admin", admin)
    name, *arguments = shlex.split(command)
    ran = CliRunner().invoke(app, arguments)
    assert (name, ran.exit_code) == ("comptroller", 0), ran.output
    (document,) = sent
    return document


@pytest.mark.parametrize(
    ("document", "nth", "raised"),
    [
        ([{"usd": "1.00"}], 0, "2.00"),
        ([{"usd": "0.000000001", "window": "day"}], 0, "0.01"),
        ([{"tokens": 500, "window": "hour"}, {"usd": "5", "window": "month"}], 1, "10.00"),
        ([{"usd": "5"}, {"requests": 9, "window": "day"}, {"concurrency": 3}], 1, 18),
        (
            {
                "limits": [{"usd": "3.5"}],
                "on_exceed": "refuse",
                "payloads": "hash",
                "per_child": [{"usd": "0.5", "window": "week"}, {"concurrency": 2}],
            },
            0,
            "7.00",
        ),
    ],
)
def test_as_it_stands_it_raises_that_limit_alone(
    monkeypatch: pytest.MonkeyPatch, document: Any, nth: int, raised: object
) -> None:
    """Every other limit, the template, on_exceed and payloads are sent as they were."""
    refusal, bound = refusal_of(document, nth)
    sent = typed(how_to_raise(refusal, bound), monkeypatch)
    assert sent.pop("scope") == SCOPE
    dimension = bound.limit.dimension
    assert sent["limits"][nth][dimension] == raised
    before = bound.policy.limits[nth]
    after = parse_policy(sent)
    restored = msgspec.structs.replace(after.limits[nth], amount_text=before.amount_text)
    limits = (*after.limits[:nth], restored, *after.limits[nth + 1 :])
    assert msgspec.structs.replace(after, limits=limits) == bound.policy


@pytest.mark.parametrize("amounts", [{"spent": 7 * 10**9, "asked": 1}, {"asked": 7 * 10**9 + 1}])
def test_it_raises_as_far_as_the_refused_call_needs(amounts: dict[str, int]) -> None:
    """Where twice the limit is not enough: what is spent, held and asked, up to a whole cent."""
    refusal, bound = refusal_of([{"usd": "1"}], 0, **amounts)
    assert how_to_raise(refusal, bound) == f"Raise it with `comptroller budget set {SCOPE} 7.01`."


@pytest.mark.parametrize(
    "document",
    [
        [{"usd": "1", "models": ["gpt-5*"]}],
        [{"usd": "1"}, {"tokens": 9, "models": ["x"]}],
        {"limits": [{"usd": "1"}], "share_of_free": "0.5"},
        {"limits": [{"usd": "1"}], "output_tokens_default": 100},
        [{"usd": str(AMOUNT_MAX // 10**9)}],
    ],
)
def test_what_cannot_be_typed_is_not_pretended(document: Any) -> None:
    """A budget that the command line cannot write whole would lose something by it: then the text
    names the command that shows it, which runs as it stands."""
    refusal, bound = refusal_of(document, 0)
    said = how_to_raise(refusal, bound)
    assert re.findall(r"`([^`]+)`", said) == [
        f"comptroller budget show {SCOPE}",
        f"comptroller budget set {SCOPE} LIMIT...",
    ]


def test_an_allotment_is_not_raised_by_a_budget() -> None:
    """The scope's own budget would not help: the text names who can, and the command that shows."""
    refusal, bound = refusal_of([{"usd": "1"}], 0)
    allotted = replace(bound, allotment=Allotment("a5", SCOPE, {"usd": 10**9}, 1))
    said = how_to_raise(refusal, allotted)
    assert "whoever opened it" in said
    assert f"`comptroller budget show {SCOPE}`" in said
    assert "budget set" not in said
