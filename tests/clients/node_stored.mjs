// Stored completions as openai-node reads them; run by test_stored.
import assert from "node:assert/strict";
import OpenAI from "openai";

const [baseURL, apiKey, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const chat = client.chat.completions;
const says = (content) => [{ role: "user", content }];
const ask = { model, max_tokens: 3, temperature: 0, store: true };
const mine = { metadata: { run: `node ${model}` } };
const parts = [{ type: "text", text: "Say" }, { type: "text", text: "hello." }];

const made = [];
for (let n = 0; n < 4; n++) {
  made.push(await chat.create({ ...ask, messages: says(`Number ${n}.`), metadata: { ...mine.metadata, odd: `${n % 2}` } }));
}
made.push(await chat.create({ ...ask, messages: says(parts), n: 2, logprobs: true, top_logprobs: 1, ...mine }));
const ids = made.map((one) => one.id);
const unstored = await chat.create({ ...ask, store: false, messages: says("Forget."), ...mine });

const every = async (pages) => {
  const found = [];
  for await (const one of pages) found.push(one);
  return found;
};
const idsOf = async (pages) => (await every(pages)).map((one) => one.id);

const sizes = [];
for await (const page of (await chat.list({ ...mine, limit: 2 })).iterPages()) sizes.push(page.data.length);
assert.deepEqual(sizes, [2, 2, 1]);
assert.deepEqual(await idsOf(chat.list({ ...mine, limit: 2 })), ids);
assert.deepEqual(await idsOf(chat.list({ ...mine, limit: 2, order: "desc" })), ids.toReversed());
assert.deepEqual(await idsOf(chat.list({ ...mine, model, limit: 3 })), ids);
assert.deepEqual(await idsOf(chat.list({ ...mine, model: `${model}:1` })), ids);
assert.deepEqual(await idsOf(chat.list({ ...mine, model: "nobody/nothing" })), []);
assert.deepEqual(await idsOf(chat.list({ metadata: { ...mine.metadata, odd: "1" } })), [ids[1], ids[3]]);

for (const one of made) {
  const again = await chat.retrieve(one.id);
  assert.deepEqual(again.choices, one.choices);
  assert.deepEqual(again.usage, one.usage);
}
assert.equal((await chat.retrieve(ids[4])).choices[1].logprobs.content[0].top_logprobs.length, 1);

const [message] = await every(chat.messages.list(ids[4]));
assert.equal(message.content, "Say\nhello.");
assert.deepEqual(message.content_parts, parts);
const long = await chat.create({ ...ask, messages: [...says("a"), { role: "assistant", content: "b" }, ...says("c")] });
const kept = await every(chat.messages.list(long.id, { limit: 1 }));
assert.deepEqual(kept.map((one) => one.content), ["a", "b", "c"]);
assert.deepEqual((await every(chat.messages.list(long.id, { limit: 1, order: "desc" }))).map((one) => one.content), ["c", "b", "a"]);

const changed = await chat.update(ids[0], { metadata: { ...mine.metadata, new: "é" } });
assert.equal(changed.metadata.new, "é");
assert.deepEqual(await idsOf(chat.list({ metadata: { ...mine.metadata, new: "é" } })), [ids[0]]);
const gone = await chat.delete(ids[0]);
assert.deepEqual([gone.id, gone.deleted], [ids[0], true]);
for (const key of [ids[0], unstored.id]) {
  await assert.rejects(chat.retrieve(key), OpenAI.NotFoundError);
  await assert.rejects(chat.delete(key), OpenAI.NotFoundError);
  await assert.rejects(every(chat.messages.list(key)), OpenAI.NotFoundError);
}
assert.deepEqual(await idsOf(chat.list(mine)), ids.slice(1));
console.log("passed");
