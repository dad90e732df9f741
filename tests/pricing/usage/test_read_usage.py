"""Reading usage: any object becomes plausible meters, or is refused with a reason."""

import json
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pricing import UsageInvalid, read_usage
from pricing.usage import APIS
from tests.pricing.vectors import rows

OBJECTS = [(row["provider"], row["api"], row["usage"]) for _, row in rows()]
HOSTILE: list[object] = [
    None,
    True,
    -1,
    1.5,
    10**30,
    "12",
    "x" * 10**5,
    [],
    {},
    [[]],
    [{}],
    {"a": 1},
]
ITEM_KEYS = ["type", "action", "container_id", "groundingMetadata"]
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def test_an_unknown_api_is_named_with_those_that_there_are() -> None:
    """Who mistypes an API is told which there are."""
    with pytest.raises(UsageInvalid, match=r"no api 'openai-chats'; there are: .*openai-chat,"):
        read_usage("openai", {"prompt_tokens": 1, "completion_tokens": 1}, api="openai-chats")


@pytest.mark.parametrize("usage", [{}, {"tokens": 5}, {"seconds": 3}])
def test_what_nobody_recognises_is_refused(usage: dict[str, object]) -> None:
    """An object of no known API is never read as zero."""
    with pytest.raises(UsageInvalid, match="no usage object of an API that is known"):
        read_usage("somebody", usage)


@pytest.mark.parametrize("usage", [None, [], 3, "x"])
def test_something_else_than_an_object_is_refused(usage: Any) -> None:
    """A usage that is no object is refused before anybody looks for its API."""
    with pytest.raises(UsageInvalid, match="usage must be an object"):
        read_usage("openai", usage)


@pytest.mark.parametrize("output", ["x", {}, 3, ["x"], [None], [{}] * 10_001])
@pytest.mark.parametrize("api", ["openai-responses", "google-generate", "openai-chat"])
def test_an_output_that_is_no_list_of_objects_is_refused(api: str, output: Any) -> None:
    """Items come from the network, too: none of them can raise anything else."""
    usage = {"input_tokens": 1, "output_tokens": 1, "prompt_tokens": 1, "completion_tokens": 1}
    with pytest.raises(UsageInvalid, match="output"):
        read_usage("openai", usage, api=api, output=output)


@pytest.mark.parametrize("api", APIS)
def test_nothing_is_never_read_as_free(api: str) -> None:
    """An empty object has no counts: only Google leaves out all that is zero."""
    if api == "google-generate":
        assert read_usage("google", {}, api=api).meters.total_tokens == 0
        return
    with pytest.raises(UsageInvalid):
        read_usage("somebody", {}, api=api)


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_a_damaged_object_is_read_or_refused(data: st.DataObject) -> None:
    """Any object of the vectors with one value replaced: UsageInvalid with a short message, or
    meters that are counts. Nothing else is raised, and nothing hangs."""
    provider, api, original = data.draw(st.sampled_from(OBJECTS))
    usage = deepcopy(original)
    place: Any = usage
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]))
        inner = place[key]
        if isinstance(inner, dict | list) and inner and data.draw(st.booleans()):
            place = inner
            continue
        place[key] = data.draw(st.sampled_from(HOSTILE) | LEAVES)
        break
    refused = ""
    try:
        read_usage(provider, usage, api=api)
    except UsageInvalid as error:
        refused = str(error)
    assert len(refused) < 1000


@settings(deadline=None)
@given(
    output=st.none() | st.lists(st.dictionaries(st.sampled_from(ITEM_KEYS), JSON)),
    provider=st.sampled_from(["openai", "openrouter", "xai"]),
    usage=JSON,
    api=st.none() | st.sampled_from(sorted(APIS)),
)
def test_any_json_is_read_or_refused(
    output: Any, provider: str, usage: Any, api: str | None
) -> None:
    """Whatever arrives, the only exception is UsageInvalid."""
    if isinstance(usage, dict):  # or it would never get as far as the output
        usage = {"input_tokens": 1, "output_tokens": 1, **usage}
    try:
        read = read_usage(provider, usage, api=api, output=output)
    except UsageInvalid:
        return
    assert read.meters.total_tokens >= 0


@pytest.mark.parametrize("api", APIS)
def test_the_object_is_not_changed(api: str) -> None:
    """Reading leaves the object as it came: it is recorded afterwards."""
    for provider, own, usage in OBJECTS:
        if own == api:
            before = json.dumps(usage)
            read_usage(provider, usage, api=api)
            assert json.dumps(usage) == before
