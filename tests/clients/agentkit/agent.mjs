// An AgentKit network of one agent, two steps.
import { createAgent, createNetwork, createTool, openai } from "@inngest/agent-kit";
import { z } from "zod";

const stock = createTool({
  name: "stock",
  description: "How much of an item is in stock.",
  parameters: z.object({ item: z.string() }),
  handler: async ({ item }) => `17 boxes of ${item}`,
});

const clerk = createAgent({
  name: "clerk",
  system: "You keep the stock.",
  model: openai({
    model: process.env.MODEL,
    baseUrl: process.env.OPENAI_BASE_URL,
    apiKey: process.env.OPENAI_API_KEY,
  }),
  tools: [stock],
});
const network = createNetwork({
  name: "shop",
  agents: [clerk],
  maxIter: 2,
  router: () => clerk,
});
const { state } = await network.run('How much "tea" is left?');
const said = state.results.at(-1).output.find((message) => message.type === "text");
console.log(JSON.stringify({ answer: said.content }));
