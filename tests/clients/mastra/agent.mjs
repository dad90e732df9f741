// A Mastra agent of two steps, streamed.
import { openai } from "@ai-sdk/openai"; // OPENAI_BASE_URL, OPENAI_API_KEY
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { z } from "zod";

const stock = createTool({
  id: "stock",
  description: "How much of an item is in stock.",
  inputSchema: z.object({ item: z.string() }),
  execute: async ({ item }) => `17 boxes of ${item}`,
});

const clerk = new Agent({
  id: "clerk",
  name: "clerk",
  instructions: "You keep the stock.",
  model: openai(process.env.MODEL),
  tools: { stock },
});
const stream = await clerk.stream('How much "tea" is left?');
console.log(JSON.stringify({ answer: await stream.text }));
