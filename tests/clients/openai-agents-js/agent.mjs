// An agent of two steps with OpenAI's agents library, streamed.
import { Agent, run, tool } from "@openai/agents"; // OPENAI_BASE_URL, OPENAI_API_KEY
import { z } from "zod";

const stock = tool({
  name: "stock",
  description: "How much of an item is in stock.",
  parameters: z.object({ item: z.string() }),
  execute: async ({ item }) => `17 boxes of ${item}`,
  strict: true,
});

const agent = new Agent({ name: "clerk", model: process.env.MODEL, tools: [stock] });
const stream = await run(agent, 'How much "tea" is left?', { stream: true });
await stream.completed;
console.log(JSON.stringify({ answer: stream.finalOutput }));
