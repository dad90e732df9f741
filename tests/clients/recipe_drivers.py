"""What stands around a snippet of docs/recipes.md, so that it runs: before it, and after it. Each
prints what came of it as JSON: `said`, or `failed` with how its orchestrator takes it.
"""

from typing import NamedTuple


class Driver(NamedTuple):
    """`language`: of the snippet's block; `before` and `after`: where it has to be put."""

    language: str
    before: str
    after: str


TEMPORAL = Driver(
    "python",
    "",
    """
import asyncio, json
from temporalio.testing import ActivityEnvironment
try:
    print(json.dumps({"said": asyncio.run(ActivityEnvironment().run(write, "reefs"))}))
except ApplicationError as error:
    assert error.non_retryable
    print(json.dumps({"failed": error.type}))
""",
)
HATCHET = Driver(
    "python",
    """
import base64, json, os
claims = {"sub": "t", "server_url": "http://127.0.0.1:1", "grpc_broadcast_address": "127.0.0.1:1"}
parts = [{"alg": "none"}, claims, {}]
os.environ["HATCHET_CLIENT_TOKEN"] = ".".join(
    base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts
)
""",
    """
import asyncio
try:
    print(json.dumps({"said": asyncio.run(write.aio_mock_run(EmptyModel()))["text"]}))
except NonRetryableException:
    print(json.dumps({"failed": "NonRetryableException"}))
""",
)
LANGGRAPH = Driver(
    "python",
    """
from typing import TypedDict
class State(TypedDict, total=False):
    topic: str
    text: str
""",
    """
import json, sys
if "--default" in sys.argv:
    graph = StateGraph(State).add_node("write", write, retry_policy=RetryPolicy())
graph.set_entry_point("write")
try:
    given = {"configurable": {"thread_id": "t-1"}}
    print(json.dumps({"said": graph.compile().invoke({"topic": "reefs"}, given)["text"]}))
except openai.APIStatusError as error:
    print(json.dumps({"failed": error.code}))
""",
)
INNGEST = Driver(
    "js",
    """
import { Inngest } from "inngest";
const inngest = new Inngest({ id: "test", isDev: true });
""",
    """
import { InngestTestEngine } from "@inngest/test";
const events = [{ name: "report/wanted", data: { topic: "reefs" } }];
const { result, error } = await new InngestTestEngine({ function: report, events }).execute();
console.log(JSON.stringify(error ? { failed: error.name } : { said: result }));
""",
)
STEP_FUNCTIONS = Driver(
    "js",
    "",
    """
import { StateMachine } from "aws-local-stepfunctions";
Promise.withResolvers ??= () => {  // it is of Node 22
  let resolve, reject;
  const promise = new Promise((yes, no) => [resolve, reject] = [yes, no]);
  return { promise, resolve, reject };
};
const context = { Execution: { Name: "run-7" } };
const overrides = { taskResourceLocalHandlers: { Write: handler } };
const machine = new StateMachine(definition);
try {
  const said = await machine.run({ topic: "reefs" }, { overrides, context }).result;
  console.log(JSON.stringify({ said }));
} catch (error) {  // of the state after the one that was caught
  const failed = error.message.includes("the run's budget is used up") ? "HardStop" : error.message;
  console.log(JSON.stringify({ failed }));
}
""",
)
CONVEX = Driver(
    "js",
    "",
    """
try {
  console.log(JSON.stringify({ said: await write._handler({}, { run: "run-7", topic: "reefs" }) }));
} catch (error) {
  console.log(JSON.stringify({ failed: error.name }));
}
""",
)
