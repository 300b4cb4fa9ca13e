// What programs on the Vercel AI SDK do, with both of its providers for this API; run by test_frameworks.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [callerURL, baseURL, apiKey, model] = process.argv.slice(2);
const PROVIDERS = [
  (url) => createOpenAI({ baseURL: url, apiKey }).chat,
  (url) =>
    createOpenAICompatible({ name: "antiphon", baseURL: url, apiKey, includeUsage: true, supportsStructuredOutputs: true })
      .chatModel,
];
const Trip = z.object({ mood: z.enum(["good", "bad"]).nullable(), towns: z.array(z.enum(["Oslo", "Paris"])).max(2) });
const settings = { maxOutputTokens: 300, temperature: 0, maxRetries: 0 };

async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

// A plain answer, and the same streamed.
async function plain(ask) {
  const whole = await generateText({ ...ask, system: "Be brief.", prompt: "Say hello." });
  assert.ok(whole.text);
  assert.equal(whole.finishReason, "stop");
  assert.equal(whole.usage.totalTokens, whole.usage.inputTokens + whole.usage.outputTokens);
  assert.deepEqual(whole.warnings, []);

  const stream = streamText({ ...ask, system: "Be brief.", prompt: "Say hello." });
  const pieces = await collected(stream.textStream);
  assert.ok(pieces.length > 1);
  assert.equal(pieces.join(""), whole.text);
  assert.equal(await stream.finishReason, "stop");
  assert.equal((await stream.usage).outputTokens, whole.usage.outputTokens);
}

// Structured output, whole and streamed.
async function structured(ask) {
  const wanted = { ...ask, output: Output.object({ schema: Trip }), prompt: "Describe a trip." };
  const whole = await generateText(wanted);
  assert.deepEqual(whole.output, Trip.parse(JSON.parse(whole.text)));
  assert.deepEqual(whole.warnings, []);
  const partial = await collected(streamText(wanted).partialOutputStream);
  assert.deepEqual(partial.at(-1), whole.output);
}

// A tool that must be called, then an answer that must not call one.
async function forced(ask) {
  const seen = [];
  const execute = (input) => (seen.push(input), { kept: true });
  const tools = { keep: tool({ description: "Keep a trip.", inputSchema: Trip, execute }) };
  const wanted = {
    ...ask,
    tools,
    prompt: "Keep my trip to Oslo.",
    stopWhen: stepCountIs(2),
    prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber === 0 ? { type: "tool", toolName: "keep" } : "none" }),
  };
  const whole = await generateText(wanted);
  assert.equal(whole.steps.length, 2);
  assert.deepEqual(whole.steps[0].toolCalls.map((call) => call.input), seen);
  assert.deepEqual(Trip.parse(seen[0]), seen[0]);
  assert.ok(whole.text);

  const stream = streamText(wanted);
  await stream.consumeStream();
  assert.deepEqual((await stream.steps)[0].toolCalls.map((call) => call.input), [seen[0]]);
  assert.equal(await stream.text, whole.text);
}

// Left to the model, which calls and then answers with what the tool gave.
async function chosen(ask) {
  const now = tool({ description: "Say what the time is.", inputSchema: z.object({}), execute: () => "noon" });
  const prompt = '<tool_call> {"name": "now", "arguments": {}} </tool_call>';
  const wanted = { ...ask, tools: { now }, prompt, stopWhen: stepCountIs(3) };
  const whole = await generateText(wanted);
  assert.deepEqual(whole.steps.map((step) => step.finishReason), ["tool-calls", "stop"]);
  assert.match(whole.text, /noon/);
  const stream = streamText(wanted);
  await stream.consumeStream();
  assert.equal(await stream.text, whole.text);
  assert.equal((await stream.steps).length, 2);
}

// Bad requests: the error says what is wrong, whole and streamed.
async function bad(ask, unknown) {
  const wrong = { ...ask, topP: 7, prompt: "Say hello." };
  const says = (error) => {
    assert.ok(APICallError.isInstance(error));
    assert.equal(error.statusCode, 422);
    assert.equal(error.isRetryable, false);
    assert.match(error.message, /top_p/);
    assert.equal(JSON.parse(error.responseBody).error.param, "top_p");
    return true;
  };
  await assert.rejects(generateText(wrong), says);
  const errors = [];
  await streamText({ ...wrong, onError: ({ error }) => errors.push(error) }).consumeStream();
  assert.equal(errors.length, 1);
  assert.ok(says(errors[0]));
  await assert.rejects(generateText({ ...ask, model: unknown, prompt: "Hi" }), (error) => error.statusCode === 404);
}

for (const provider of PROVIDERS) {
  const here = provider(baseURL);
  const ask = { model: here(model), ...settings };
  await plain(ask);
  await structured(ask);
  await forced(ask);
  await chosen({ ...settings, model: provider(callerURL)("test/parrot") });
  await bad(ask, here("a/b"));
}
console.log("passed");
