"""The demo provider: valid requests of every shape are answered, and answered alike."""

import json
from typing import Any

import msgspec
import pytest

from gateway.demo import DemoUpstream
from gateway.upstream import NO_HEADERS, Origin, Timeouts, UpstreamRequest

TIMES = Timeouts(1, 1, 1)


async def ask(**fields: object) -> bytes:
    """The whole answer to a request with these fields beside model and messages."""
    document = {"model": "demo/small", "messages": [{"role": "user", "content": "hi"}], **fields}
    body = msgspec.json.encode(document)
    origin = Origin("http", "demo", 80)
    request = UpstreamRequest(origin, "POST", b"/v1/chat/completions", NO_HEADERS, body, TIMES)
    response = await DemoUpstream(chunk_delay_ms=0).send(request)
    return await response.read_all(10**6)


@pytest.mark.parametrize(
    "fields",
    [
        {"n": None},
        {"tools": [{"type": "function", "function": 5}]},
        {"tools": [{"type": "function", "function": {"parameters": {"properties": []}}}]},
        {"tools": [{"type": "function", "function": {"name": "f"}}], "stream": True},
        {"stream": True, "stream_options": None},
        {"tools": None},
        {"tools": [{"type": "function", "function": {"parameters": {"properties": {"a": 5}}}}]},
        {"messages": [{"role": "tool", "content": "x"}], "tools": []},
    ],
)
async def test_odd_but_valid_requests_are_answered_the_same_way_twice(
    fields: dict[str, object],
) -> None:
    """What the gateway lets through never breaks the demo, and the same request has one answer."""
    assert await ask(**fields) == await ask(**fields) != b""


async def test_it_obeys_its_cap_and_bills_every_choice() -> None:
    """The output cap bounds each choice, and the usage counts all of them."""
    answer = msgspec.json.decode(await ask(n=3, max_tokens=5))
    assert len(answer["choices"]) == 3
    assert answer["usage"]["completion_tokens"] == 15
    assert all(choice["finish_reason"] == "length" for choice in answer["choices"])


def tool(name: str, **properties: object) -> dict[str, object]:
    """A tool with these arguments."""
    parameters = {"type": "object", "properties": properties}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [
    tool("read", number={"type": "integer"}),
    tool("search", query={"type": "string"}, kind={"type": "string", "enum": ["faq", "blog"]}),
]


async def said(messages: list[dict[str, Any]], **fields: object) -> dict[str, Any]:
    """The message of the answer."""
    answer = json.loads(await ask(messages=messages, tools=TOOLS, **fields))
    message = answer["choices"][0]["message"]
    assert isinstance(message, dict)
    return message


async def test_an_agent_s_loop_comes_to_an_end() -> None:
    """Each tool is called once, in order, with arguments that are taken from what was said last;
    then there is an answer. The next question begins anew."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "answer ticket 17, please"}]
    called = []
    for result in ('Ann asks: "where is my invoice?"', "in the settings"):
        message = await said(messages)
        (call,) = message["tool_calls"]
        called.append((call["function"]["name"], json.loads(call["function"]["arguments"])))
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": result}]
    assert called == [
        ("read", {"number": 17}),
        ("search", {"query": "where is my invoice?", "kind": "faq"}),
    ]
    last = await said(messages)
    assert "in the settings" in last["content"]
    assert "tool_calls" not in last
    messages += [last, {"role": "user", "content": "and the next one"}]
    assert (await said(messages))["tool_calls"][0]["function"]["name"] == "read"


async def test_no_tool_is_called_where_the_request_says_so() -> None:
    """`tool_choice: none` is answered in words."""
    message = await said([{"role": "user", "content": "hi"}], tool_choice="none")
    assert message["content"]
    assert "tool_calls" not in message


async def test_a_question_can_name_the_tools_that_are_called() -> None:
    """Those and no others, as whole words: coding agents bring a dozen."""
    question = {"role": "user", "content": [{"type": "text", "text": 'search for "tea", already'}]}
    message = await said([question])
    (call,) = message["tool_calls"]
    assert call["function"]["name"] == "search"
    assert json.loads(call["function"]["arguments"])["query"] == "tea"
    result = {"role": "tool", "tool_call_id": call["id"], "content": "green"}
    last = await said([question, message, result])
    assert "green" in last["content"]


async def test_arguments_that_may_be_left_out_are() -> None:
    """Of a schema that says which are needed: who lists folders runs nothing in the background."""
    properties = {"command": {"type": "string"}, "detach": {"type": "boolean"}}
    parameters = {"type": "object", "properties": properties, "required": ["command"]}
    tools = [{"type": "function", "function": {"name": "run", "parameters": parameters}}]
    asked = [{"role": "user", "content": 'run "ls"'}]
    answer = json.loads(await ask(messages=asked, tools=tools))
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert json.loads(call["function"]["arguments"]) == {"command": "ls"}


async def test_a_loop_that_is_written_down_as_texts_comes_to_an_end() -> None:
    """Where a tool has to be called, earlier turns were calls; then there is an answer. smolagents
    writes a result as a text of the user's."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": "how are things?"}]
    for expected in ("read", "search"):
        message = await said(messages, tool_choice="required")
        assert message["tool_calls"][0]["function"]["name"] == expected
        turn = [{"role": "assistant", "content": f"I call {expected}"}]
        messages += [*turn, {"role": "user", "content": 'Observation: "17"'}]
    assert (await said(messages, tool_choice="required"))["content"]
