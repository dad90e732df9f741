"""A support agent on OpenAI's own library: it answers tickets until they, or its budget, are done.

Of the gateway it knows a base URL and a key, and what its answers say of their cost:

    export OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=<a key of the gateway>
    python examples/agent.py            # or with --stream

It exits with 0 when all tickets are answered, with 3 when a budget has stopped it.
"""

import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
from openai.types.chat import (
    ChatCompletionFunctionToolParam,
    ChatCompletionMessage,
    ChatCompletionMessageParam,
)

MODEL = os.environ.get("AGENT_MODEL", "demo/large")
CAP = 60  # output tokens of one call
CALLS_PER_TICKET_MAX = 6
STOPPED_BY_BUDGET = 3
INSTRUCTIONS = "You are a support agent. Read the ticket, search the help pages, answer in a line."
TICKETS = {
    101: 'Ann asks: "Where do I find my invoice?"',
    102: 'Bob asks: "How do I add a colleague?"',
    103: 'Cem asks: "Can I pay by bank transfer?"',
    104: 'Dana asks: "How do I close my account?"',
    105: 'Eve asks: "Where do I change my address?"',
    106: 'Finn asks: "How do I add an invoice line?"',
    107: 'Gus asks: "Which colleague can pay?"',
}
PAGES = {
    "invoice": "Invoices are under Settings, Billing, Invoices.",
    "colleague": "An owner adds people under Settings, Team.",
    "pay": "We take cards and bank transfers; transfers need three days.",
    "account": "An owner closes or changes an account under Settings, Account.",
    "address": "A new address counts from the next invoice on.",
}


def read_ticket(number: int) -> str:
    """What the customer wrote."""
    return TICKETS.get(number, "There is no such ticket.")


def search_help(query: str) -> str:
    """The first help page that has a word of the query."""
    found = [page for word, page in PAGES.items() if word in query.lower()]
    return found[0] if found else "Nothing was found."


def tool(name: str, argument: str, kind: str) -> ChatCompletionFunctionToolParam:
    """A tool with one argument, as the API wants it described."""
    parameters: dict[str, object] = {
        "type": "object",
        "properties": {argument: {"type": kind}},
        "required": [argument],
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


TOOLS = [tool("read_ticket", "number", "integer"), tool("search_help", "query", "string")]
RUN: dict[str, Callable[..., str]] = {"read_ticket": read_ticket, "search_help": search_help}


class Agent:
    """Answers tickets. `answered` are those that are finished."""

    def __init__(self, client: openai.OpenAI, *, stream: bool) -> None:
        self.client = client
        self.stream = stream
        self.answered: list[int] = []

    def answer(self, number: int) -> None:
        """One ticket: call the model, run the tools that it asks for, until it answers."""
        messages: list[ChatCompletionMessageParam] = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": f"Answer ticket {number}."},
        ]
        for _ in range(CALLS_PER_TICKET_MAX):
            message, cost, left = self.ask(messages)
            calls = [call for call in message.tool_calls or () if call.type == "function"]
            said = [f"{call.function.name} {call.function.arguments}" for call in calls]
            what = ", ".join(said) or f"reply: {message.content}"
            print(f"  ticket {number}  {what[:44]:<44}  cost ${cost:<10f} left ${left:f}")
            if not calls:
                self.answered.append(number)
                return
            history: Any = {"role": "assistant", "tool_calls": []}
            messages.append(history)
            for call in calls:
                function = {"name": call.function.name, "arguments": call.function.arguments}
                asked = {"id": call.id, "type": "function", "function": function}
                history["tool_calls"].append(asked)
                result = RUN[call.function.name](**json.loads(call.function.arguments))
                messages.append({"role": "tool", "tool_call_id": call.id, "content": result})

    def ask(
        self, messages: list[ChatCompletionMessageParam]
    ) -> tuple[ChatCompletionMessage, Decimal, Decimal]:
        """The model's message, what it cost, and what the tightest budget has left, in dollars."""
        request: Any = {"model": MODEL, "messages": messages, "tools": TOOLS, "max_tokens": CAP}
        if not self.stream:
            raw = self.client.chat.completions.with_raw_response.create(**request)
            cost = Decimal(raw.headers["x-comptroller-cost-usd"])
            left = Decimal(raw.headers["x-comptroller-remaining-usd"])
            return raw.parse().choices[0].message, cost, left
        request["stream_options"] = {"include_usage": True}
        with self.client.chat.completions.stream(**request) as stream:
            stream.until_done()
            completion = stream.current_completion_snapshot
        usage: Any = completion.usage
        return completion.choices[0].message, Decimal(str(usage.cost)), self.left()

    def left(self) -> Decimal:
        """What every budget above the key leaves it, asked of the gateway."""
        budget = self.client.get("/budget", cast_to=dict[str, Any])
        limits = [limit for scope in budget["scopes"] for limit in scope["limits"]]
        return min(Decimal(each["free"]) for each in limits if each["dimension"] == "usd")


def main() -> int:
    """All tickets, or as many as the budget allows."""
    agent = Agent(openai.OpenAI(), stream="--stream" in sys.argv[1:])
    try:
        for number in TICKETS:
            agent.answer(number)
    except openai.APIStatusError as error:
        if error.code != "budget_exceeded":
            raise
        refusal: Any = error.body
        print(f"\n  stopped ({error.status_code} {error.code}): {refusal['message']}")
        left = [number for number in TICKETS if number not in agent.answered]
        print(f"  answered: {agent.answered}\n  left for later: {left}")
        return STOPPED_BY_BUDGET
    print(f"  answered all {len(agent.answered)} tickets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
