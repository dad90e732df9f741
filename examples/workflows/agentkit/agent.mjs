// An AgentKit network of one clerk: reads the step's input, asks, looks into the stock, answers.
import { readFileSync, writeFileSync } from "node:fs";
import { createAgent, createNetwork, createTool, openai } from "@inngest/agent-kit";
import { z } from "zod";

const boxes = { tea: 17, coffee: 4 };

const stock = createTool({
  name: "stock",
  description: "How much of an item is in stock.",
  parameters: z.object({ item: z.string() }),
  handler: async ({ item }) => `${boxes[item] ?? 0} boxes of ${item}`,
});

const clerk = createAgent({
  name: "clerk",
  system: "You keep the stock. Look it up, and answer in a line.",
  model: openai({
    model: "demo/small",
    baseUrl: process.env.OPENAI_BASE_URL,
    apiKey: process.env.OPENAI_API_KEY,
    defaultParameters: { max_tokens: 200 },
  }),
  tools: [stock],
});

const { item } = JSON.parse(readFileSync(process.env.COMPTROLLER_INPUT, "utf8"));
const network = createNetwork({ name: "shop", agents: [clerk], maxIter: 2, router: () => clerk });
const { state } = await network.run(`How much "${item}" is left?`);
const said = state.results.at(-1).output.find((message) => message.type === "text");
writeFileSync(process.env.COMPTROLLER_OUTPUT, JSON.stringify({ item, answer: said.content }));
