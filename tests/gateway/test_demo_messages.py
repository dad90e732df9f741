"""The demo models behind Anthropic's Messages play for agents as they come: with tools that are not
loaded, and with words of the operator's in between."""

from typing import Any

import msgspec
import pytest

from gateway.demo.messages import messages_pieces


def tool(name: str, **more: object) -> dict[str, object]:
    """A tool with one argument that is needed and one that is not."""
    properties = {"command": {"type": "string"}, "detach": {"type": "boolean"}}
    schema = {"type": "object", "properties": properties, "required": ["command"]}
    return {"name": name, "input_schema": schema, **more}


def block(messages: list[dict[str, Any]], *tools: dict[str, object]) -> dict[str, Any]:
    """The only block of the answer."""
    request = {"model": "demo/small", "max_tokens": 100, "messages": messages, "tools": tools}
    (piece,) = messages_pieces(request)
    (only,) = msgspec.json.decode(piece)["content"]
    assert isinstance(only, dict)
    return only


QUESTION = {"role": "user", "content": [{"type": "text", "text": 'run "ls" with Bash'}]}
OPERATOR = {"role": "system", "content": "today is Sunday"}


@pytest.mark.parametrize("between", [[], [OPERATOR]])
def test_a_loop_comes_to_an_end(between: list[dict[str, Any]]) -> None:
    """The tool that the question names is called once, with the argument that is needed."""
    messages = [QUESTION, *between]
    call = block(messages, tool("Read"), tool("Bash"))
    assert (call["name"], call["input"]) == ("Bash", {"command": "ls"})
    result = {"type": "tool_result", "tool_use_id": call["id"], "content": "17 files"}
    messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]
    assert "17 files" in block([*messages, *between], tool("Read"), tool("Bash"))["text"]


def test_a_tool_that_is_not_loaded_is_not_called() -> None:
    """A model does not see a deferred one before it searches."""
    messages = [{"role": "user", "content": "hi"}]
    assert block(messages, tool("Later", defer_loading=True), tool("Now"))["name"] == "Now"
    assert block(messages, tool("Later", defer_loading=True))["type"] == "text"


def test_words_of_the_operator_alone_are_answered() -> None:
    """As every request that the gateway lets through."""
    assert block([OPERATOR])["type"] == "text"
