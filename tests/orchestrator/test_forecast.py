"""A run never costs more than what is forecast: calls are counted with every attempt, round and
entry, and where calls are not known, budgets bound them; nothing is known where nothing bounds."""

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from orchestrator.definition import Workflow
from orchestrator.forecast import Forecast, forecast
from tests.orchestrator.written import read, step

NUSD_PER_USD = 10**9
CALL_NUSD = 1_000
TOKENS_ONLY = [{"tokens": 5}]


def call_ceiling(model: str, cap: int | None) -> int | None:
    """`m` costs 1,000 a call, or its cap; what others cost nobody knows."""
    return None if model != "m" else CALL_NUSD if cap is None else cap


def foreseen(workflow: Workflow) -> Forecast:
    """With these prices."""
    return forecast(workflow, call_ceiling)


@pytest.mark.parametrize(
    ("fields", "calls"),
    [
        ({"retries": 0}, 1),
        ({}, 3),  # the default of two retries
        ({"retries": {"most": 4, "backoff": "1s"}}, 5),
        ({"retries": 0, "until": {"condition": "x", "most": 7}}, 7),
        ({"retries": 0, "until": "x"}, 10),
        ({"retries": 0, "foreach": [1, 2, 3]}, 3),
        ({"retries": 0, "foreach": []}, 0),
        ({"retries": 1, "until": {"condition": "x", "most": 5}, "foreach": ["a", "b"]}, 20),
    ],
)
def test_a_prompt_costs_its_dearest_call_as_often_as_it_can_be_made(
    fields: dict[str, Any], calls: int
) -> None:
    """Attempts x rounds x entries."""
    found = foreseen(read(step(prompt="x", **fields), budget=TOKENS_ONLY))
    (only,) = found.steps
    assert (only.step_id, only.ceiling_nusd, only.bound_by) == ("a", calls * CALL_NUSD, "calls")
    assert found.ceiling_nusd == calls * CALL_NUSD


def test_retries_of_the_workflow_hold_where_a_step_says_nothing() -> None:
    """And a step's own instead of them."""
    steps = [step(prompt="x"), step("b", prompt="x", retries=1)]
    found = foreseen(read(*steps, defaults={"model": "m", "retries": 9}))
    assert [each.ceiling_nusd for each in found.steps] == [10 * CALL_NUSD, 2 * CALL_NUSD]


def test_the_model_and_the_cap_are_the_prompts_own() -> None:
    """Else the model of the defaults, without a cap."""
    own = {"text": "x", "model": "m", "max_tokens": 7}
    workflow = read(step(prompt=own, retries=0), defaults={"model": "other"}, budget=TOKENS_ONLY)
    assert foreseen(workflow).ceiling_nusd == 7


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ["x"]},
        {"python": "a:b"},
        {"http": "http://x"},
        {"workflow": "x"},
        {"prompt": "x", "foreach": "{{ input }}"},
        {"prompt": {"text": "x", "model": "other"}},
    ],
)
def test_what_makes_calls_that_nobody_counts_is_bound_by_budgets(fields: dict[str, Any]) -> None:
    """Its own, else its run's, else nothing."""
    own = foreseen(read(step(budget=[{"usd": "0.25"}], **fields)))
    assert (own.steps[0].ceiling_nusd, own.steps[0].bound_by) == (NUSD_PER_USD // 4, "budget")
    assert own.ceiling_nusd == NUSD_PER_USD // 4
    of_run = foreseen(read(step(**fields)))
    assert (of_run.steps[0].ceiling_nusd, of_run.steps[0].bound_by) == (NUSD_PER_USD, "run")
    assert of_run.ceiling_nusd == NUSD_PER_USD
    (nobody,) = foreseen(read(step(**fields), budget=TOKENS_ONLY)).steps
    assert (nobody.ceiling_nusd, nobody.bound_by) == (None, None)


@pytest.mark.parametrize(
    "fields",
    [
        {"sleep": "30d"},
        {"approval": "x", "until": "{{ last }}"},
        {"sleep": "1s", "foreach": "{{ input }}"},
    ],
)
def test_waiting_costs_nothing(fields: dict[str, Any]) -> None:
    """Whatever budget there is."""
    for budget in ([{"usd": "1"}], TOKENS_ONLY):
        found = foreseen(read(step(**fields), budget=budget))
        assert (found.steps[0].ceiling_nusd, found.ceiling_nusd) == (0, 0)


def test_a_workflow_inside_costs_what_its_run_can() -> None:
    """For each attempt; where that is not known, budgets bound it."""
    workflow = read(step(workflow="x", retries=1), step("b", workflow="y"), budget=TOKENS_ONLY)
    found = forecast(workflow, call_ceiling, {"a": 7, "b": None})
    assert [each.ceiling_nusd for each in found.steps] == [14, None]


def test_a_run_inside_is_begun_once_where_its_step_does_not_say_more() -> None:
    """The default of two retries is not for it."""
    found = forecast(read(step(workflow="x"), budget=TOKENS_ONLY), call_ceiling, {"a": 7})
    assert [each.ceiling_nusd for each in found.steps] == [7]


@pytest.mark.parametrize(
    "limit",
    [
        {"usd": "0.000000001", "window": "day"},
        {"usd": "0.000000001", "models": ["x"]},
        {"tokens": 1},
    ],
)
def test_only_dollars_in_all_of_every_model_bound_a_run(limit: dict[str, Any]) -> None:
    """A limit of a day is there again on the next one."""
    workflow = read(step(command=["x"], budget=[limit]), budget=[limit])
    found = foreseen(workflow)
    assert (found.steps[0].ceiling_nusd, found.ceiling_nusd) == (None, None)


def test_one_step_that_nothing_bounds_leaves_the_run_to_its_budget() -> None:
    """None without one, whatever is known of the others."""
    steps = [step(prompt="x"), step("b", command=["x"])]
    assert foreseen(read(*steps, budget=TOKENS_ONLY)).ceiling_nusd is None
    assert foreseen(read(*steps)).ceiling_nusd == NUSD_PER_USD


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 20), st.integers(0, 10**6) | st.none()),
        min_size=1,
        max_size=5,
    ),
    st.integers(0, 10**6) | st.none(),
)
def test_no_ceiling_is_above_any_bound(
    said: list[tuple[bool, int, int | None]], run_nusd: int | None
) -> None:
    """A step's is at most its calls, its budget and its run's; the run's at most the sum and its
    budget; and each is one of these."""

    def budget(nusd: int | None) -> list[dict[str, Any]]:
        return TOKENS_ONLY if nusd is None else [{"usd": f"0.{nusd:09d}"}]

    steps = [
        step(
            f"s{n}",
            retries=retries,
            budget=budget(nusd),
            **({"prompt": "x"} if is_prompt else {"command": ["x"]}),
        )
        for n, (is_prompt, retries, nusd) in enumerate(said)
    ]
    found = foreseen(read(*steps, budget=budget(run_nusd)))
    total = 0
    for (is_prompt, retries, nusd), each in zip(said, found.steps, strict=True):
        calls = CALL_NUSD * (1 + retries) if is_prompt else None
        bounds = [bound for bound in (calls, nusd, run_nusd) if bound is not None]
        assert each.ceiling_nusd == min(bounds, default=None)
        total += each.ceiling_nusd or 0
    if None in [each.ceiling_nusd for each in found.steps]:
        assert found.ceiling_nusd is None
    else:
        assert found.ceiling_nusd == (total if run_nusd is None else min(total, run_nusd))
