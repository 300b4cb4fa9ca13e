// Structured outputs and tools as openai-node's helpers do them; run by test_structured.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [callerURL, baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const says = (content) => [{ role: "user", content }];
const ask = { model, max_tokens: 300, temperature: 0 };

const Leg = z.object({ by: z.enum(["train", "bus"]), town: z.enum(["Oslo", "Paris"]) });
const Trip = z.object({ mood: z.enum(["good", "bad"]).nullable(), home: Leg, legs: z.array(Leg).max(2) });
const Weather = z.object({ town: z.enum(["Oslo", "Paris"]), units: z.enum(["C", "F"]).nullable() });

// A whole answer, parsed.
const format = { ...ask, messages: says("Describe a trip."), response_format: zodResponseFormat(Trip, "trip") };
const whole = (await client.chat.completions.parse(format)).choices[0];
assert.equal(whole.finish_reason, "stop");
assert.deepEqual(whole.message.parsed, Trip.parse(JSON.parse(whole.message.content)));

// The same, streamed.
const contents = [];
const stream = client.chat.completions.stream(format).on("content.done", ({ parsed }) => contents.push(parsed));
const last = (await stream.finalChatCompletion()).choices[0];
assert.deepEqual(last.message.parsed, whole.message.parsed);
assert.deepEqual(contents, [whole.message.parsed]);
await assert.rejects(client.chat.completions.parse({ ...format, max_tokens: 3 }), OpenAI.LengthFinishReasonError);

// Calls, parsed: one that is named, any that is required, and one streamed.
const seen = [];
const weather = zodFunction({
  name: "weather",
  description: "Say what the weather is.",
  parameters: Weather,
  function: (args) => (seen.push(args), { sky: "clear" }),
});
const named = { type: "function", function: { name: "weather" } };
const tools = { ...ask, messages: says("What is the weather in Paris?"), tools: [weather] };
for (const [tool_choice, reason] of [[named, "stop"], ["required", "tool_calls"]]) {
  const called = (await client.chat.completions.parse({ ...tools, tool_choice })).choices[0];
  assert.equal(called.finish_reason, reason);
  assert.equal(called.message.content, null);
  for (const call of called.message.tool_calls) {
    assert.deepEqual(call.function.parsed_arguments, Weather.parse(JSON.parse(call.function.arguments)));
  }
}
let pieces = "";
const single = { ...tools, tool_choice: "required", parallel_tool_calls: false };
const calling = client.chat.completions
  .stream(single)
  .on("tool_calls.function.arguments.delta", ({ arguments_delta }) => (pieces += arguments_delta));
const [streamed] = (await calling.finalChatCompletion()).choices[0].message.tool_calls;
assert.equal(pieces, streamed.function.arguments);
assert.deepEqual(streamed.function.parsed_arguments, Weather.parse(JSON.parse(pieces)));

// runTools ends after the one call that is named, with its result among the messages.
const ran = client.chat.completions.runTools({ ...tools, tool_choice: named });
await ran.done();
assert.equal(seen.length, 1);
assert.deepEqual(ran.messages.map((message) => message.role), ["user", "assistant", "tool"]);
assert.deepEqual(JSON.parse(await ran.finalFunctionToolCallResult()), { sky: "clear" });

// Left to the model, runTools sends each result back and asks again: at `callerURL` is a model that always calls.
const caller = new OpenAI({ baseURL: callerURL, apiKey, maxRetries: 0 });
for (const streaming of [false, true]) {
  let calls = 0;
  const now = {
    type: "function",
    function: {
      name: "now",
      description: "Say what the time is.",
      parameters: {},
      parse: JSON.parse,
      function: () => `${++calls} o'clock`,
    },
  };
  const asked = { model: "test/calls", messages: says("What time is it?"), tools: [now], stream: streaming };
  const runner = caller.chat.completions.runTools(asked, { maxChatCompletions: 2 });
  await runner.done();
  assert.equal(calls, 2);
  assert.deepEqual(runner.messages.map((message) => message.role), ["user", "assistant", "tool", "assistant", "tool"]);
  assert.equal(await runner.finalFunctionToolCallResult(), "2 o'clock");
  assert.equal(runner.allChatCompletions().at(-1).choices[0].finish_reason, "tool_calls");
  assert.equal(runner.messages[2].tool_call_id, runner.messages[1].tool_calls[0].id);
  assert.notEqual(runner.messages[1].tool_calls[0].id, runner.messages[3].tool_calls[0].id);
}
console.log("passed", (await import("openai/version")).VERSION);
