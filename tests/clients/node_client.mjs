// What a user's program does with openai-node; run by test_openai_node.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = { model, messages: [{ role: "user", content: "Say hello." }], max_tokens: 400, temperature: 0 };

const whole = await client.chat.completions.create(ask);
const text = whole.choices[0].message.content;
assert.ok(text.length > 0);
assert.equal(whole.choices[0].finish_reason, "stop");
assert.equal(whole.usage.total_tokens, whole.usage.prompt_tokens + whole.usage.completion_tokens);
assert.ok(whole._request_id);

let streamed = "";
let usage = null;
for await (const chunk of await client.chat.completions.create({ ...ask, stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage;
}
assert.equal(streamed, text);
assert.ok(usage.completion_tokens > 0);

const three = await client.chat.completions.create({ ...ask, temperature: 1, n: 3 });
assert.deepEqual(three.choices.map((choice) => choice.index), [0, 1, 2]);

const scored = await client.chat.completions.create({ ...ask, logprobs: true, top_logprobs: 2 });
const bytes = scored.choices[0].logprobs.content.flatMap((entry) => entry.bytes);
assert.equal(Buffer.from(bytes).toString("utf8"), text);

const helper = client.chat.completions.stream({ ...ask, n: 2 });
const final = await helper.finalChatCompletion();
assert.equal(final.choices[0].message.content, text);
assert.equal(final.choices[1].message.role, "assistant");

const again = await client.chat.completions.create({
  ...ask,
  messages: [...ask.messages, final.choices[0].message, { role: "user", content: "Again." }],
});
assert.ok(again.choices[0].message.content);

assert.ok((await client.models.list()).data.some((found) => found.id === model));
assert.equal((await client.models.retrieve(`${model}:1`)).id, `${model}:1`);

await assert.rejects(client.chat.completions.create({ ...ask, n: 0 }), (error) => {
  assert.ok(error instanceof OpenAI.UnprocessableEntityError);
  assert.equal(error.code, "integer_below_min_value");
  assert.equal(error.param, "n");
  return true;
});
await assert.rejects(client.chat.completions.create({ ...ask, model: "a/b" }), OpenAI.NotFoundError);

const controller = new AbortController();
const left = await client.chat.completions.create({ ...ask, stream: true }, { signal: controller.signal });
for await (const _ of left) controller.abort();
console.log("passed");
