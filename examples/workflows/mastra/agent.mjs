// A Mastra clerk: reads the step's input, asks, looks into the stock, answers.
import { readFileSync, writeFileSync } from "node:fs";
import { openai } from "@ai-sdk/openai"; // OPENAI_BASE_URL and OPENAI_API_KEY are the step's
import { Agent } from "@mastra/core/agent";
import { createTool } from "@mastra/core/tools";
import { z } from "zod";

const boxes = { tea: 17, coffee: 4 };

const stock = createTool({
  id: "stock",
  description: "How much of an item is in stock.",
  inputSchema: z.object({ item: z.string() }),
  execute: async ({ item }) => `${boxes[item] ?? 0} boxes of ${item}`,
});

const clerk = new Agent({
  id: "clerk",
  name: "clerk",
  instructions: "You keep the stock. Look it up, and answer in a line.",
  model: openai("demo/small"),
  tools: { stock },
});

const { item } = JSON.parse(readFileSync(process.env.COMPTROLLER_INPUT, "utf8"));
const { text } = await clerk.generate(`How much "${item}" is left?`);
writeFileSync(process.env.COMPTROLLER_OUTPUT, JSON.stringify({ item, answer: text }));
