"""A prompt is one chat completion; its output is the model's text, or the JSON in it, and whatever
is neither fails with what to do."""

from typing import Any

import pytest

from orchestrator.kinds.contract import Answer, StepFailed
from orchestrator.kinds.prompt import ASKED_FOR_JSON
from tests.orchestrator.kinds.attempts import FakeAttempt, action


def completion(content: Any, ended: str = "stop", **message: Any) -> Answer:
    """Of a model."""
    choice = {"message": {"role": "assistant", "content": content, **message}}
    return Answer(200, {}, {"choices": [{**choice, "finish_reason": ended}]})


async def output(answer: Answer, **fields: Any) -> Any:
    """Of a prompt that is answered so."""
    return await action(prompt={"text": "x", **fields}).perform(FakeAttempt(answer))


async def test_it_asks_for_what_is_written() -> None:
    """With the workflow's model where it names none, and no field that nobody wrote."""
    attempt = FakeAttempt(completion("hello"))
    assert await action(prompt="hi").perform(attempt) == "hello"
    fields = {"text": "t", "system": "s", "model": "o", "max_tokens": 5, "temperature": 0.5}
    await action(prompt=fields).perform(attempt)
    user = {"role": "user", "content": "t"}
    assert attempt.asked == [
        (
            "/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            "prompt",
        ),
        (
            "/chat/completions",
            {
                "model": "o",
                "messages": [{"role": "system", "content": "s"}, user],
                "max_tokens": 5,
                "temperature": 0.5,
            },
            "prompt",
        ),
    ]


@pytest.mark.parametrize("system", ["", "s"])
async def test_json_is_asked_for_in_words(system: str) -> None:
    """Any model understands them; not all know `response_format`."""
    attempt = FakeAttempt(completion("{}"))
    await action(prompt={"text": "t", "system": system, "output": "json"}).perform(attempt)
    body = attempt.asked[0][1]
    assert body["messages"][0]["role"] == "system"
    assert body["messages"][0]["content"].startswith(system)
    assert body["messages"][0]["content"].endswith(ASKED_FOR_JSON)
    assert "response_format" not in body


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ('{"a": [1]}', {"a": [1]}),
        (" [1]\n", [1]),
        ('```json\n{"a": 1}\n```', {"a": 1}),
        ("Here it is:\n```\n[1, 2]\n```\nDone.", [1, 2]),
        ([{"type": "text", "text": "[1"}, {"type": "text", "text": "]"}], [1]),
        ("null", None),
    ],
)
async def test_json_is_read(content: Any, value: Any) -> None:
    """Also in a fence, and in parts."""
    assert await output(completion(content), output="json") == value


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion("no json"), "the answer is no JSON: no json"),
        (completion("[NaN]"), "is no JSON"),
        (completion("[" * 100_000), "is no JSON"),
        (completion('{"a": ', "length"), "cut after its 5 tokens.*raise max_tokens"),
    ],
)
async def test_other_than_json_fails(answer: Answer, words: str) -> None:
    """Not for good: a model may answer otherwise when it is asked again."""
    with pytest.raises(StepFailed, match=words) as failed:
        await output(answer, output="json", max_tokens=5)
    assert not failed.value.is_final


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (completion(None, refusal="I will not"), "the model refuses: I will not"),
        (completion("x", "content_filter"), "filter withheld"),
        (completion(None, "length"), "raise max_tokens"),
        (completion("", "stop"), "no text"),
        (Answer(200, {}, "<html>"), "no chat completion: <html>"),
        (Answer(200, {}, {"choices": []}), "no chat completion"),
        (Answer(200, {}, {"choices": [{"message": "x"}]}), "no chat completion"),
    ],
)
async def test_an_answer_without_text_fails(answer: Answer, words: str) -> None:
    """And says why."""
    with pytest.raises(StepFailed, match=words):
        await output(answer)


async def test_a_text_that_was_cut_is_a_text() -> None:
    """Whoever sets a cap gets what fits."""
    assert await output(completion("so fa", "length")) == "so fa"
