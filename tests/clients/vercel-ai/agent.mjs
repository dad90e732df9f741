// An agent of two steps with the AI SDK, streamed.
import { openai } from "@ai-sdk/openai"; // OPENAI_BASE_URL, OPENAI_API_KEY
import { stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const stock = tool({
  description: "How much of an item is in stock.",
  inputSchema: z.object({ item: z.string() }),
  execute: async ({ item }) => `17 boxes of ${item}`,
});

const result = streamText({
  model: openai(process.env.MODEL),
  tools: { stock },
  stopWhen: stepCountIs(5),
  prompt: 'How much "tea" is left?',
});
console.log(JSON.stringify({ answer: await result.text }));
