"""What a user's program does with the `wriftai` package, sync and async; run by test_wriftai."""

import asyncio
import contextlib
import http.server
import json
import sys
import threading
import time

import httpx
import wriftai
from wriftai.predictions import AsyncCreateWaitOptions, AsyncWaitOptions, CreateWaitOptions, WaitOptions

MODEL, SLOW, DIES, NEVER = sys.argv[1:]
"""One that answers, one that takes its time, one that fails in the middle, and one that never answers."""
INPUT = {"messages": [{"role": "user", "content": "Say hello."}], "max_tokens": 8, "temperature": 0}
LONG = {"messages": [{"role": "user", "content": "Tell me a long story."}], "max_tokens": 400, "temperature": 0}
SECRET = "schlüssel 😀"
OWNER, NAME = MODEL.split("/")
DETAILS = {
    *("id", "created_at", "updated_at", "status", "setup_time", "execution_time", "model"),
    *("input", "output", "error", "metrics", "stream"),
}
TERMINAL = {"succeeded", "failed", "cancelled", "abandoned"}


class Receiver:
    """Hears the notices of predictions, and believes none that is not signed."""

    def __enter__(self):
        heard = self.heard = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                heard.append((body, self.headers["wriftai-webhook-signature"]))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def story(self, key):
        """The statuses told of a prediction until it had ended, each notice verified; and the last notice."""
        deadline = time.monotonic() + 20
        while True:
            notices = []
            for body, signature in list(self.heard):
                if json.loads(body)["id"] == key:
                    wriftai.verify_webhook(body, signature, SECRET)
                    notices.append(json.loads(body))
            if notices and notices[-1]["status"] in TERMINAL:
                return [notice["status"] for notice in notices], notices[-1]
            assert time.monotonic() < deadline, notices
            time.sleep(0.01)


def refused(status, call):
    """Make a call that must be refused with a status, and at once: it must not be tried again into something else."""
    begun = time.monotonic()
    try:
        call()
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == status, error.response.text
        assert time.monotonic() - begun < 3
        return error.response.json()
    raise AssertionError(f"no {status}")


def check_whole(prediction, status="succeeded"):
    assert set(prediction) == DETAILS, set(prediction) ^ DETAILS
    assert prediction["status"] == status, prediction
    assert prediction["model"] == {"owner": OWNER, "name": NAME, "version_number": 1}
    assert prediction["input"] == INPUT
    text = prediction["output"]["choices"][0]["message"]["content"]
    assert text
    assert prediction["metrics"]["usage"]["completion_tokens"] > 0
    return text


def check_stream(events, text):
    """The events of a whole stream; give them."""
    assert [events[0]["event"], events[1]["event"], events[-1]["event"]] == ["init", "output", "done"]
    assert {event["event"] for event in events[1:-1]} == {"output"}
    assert len({event["id"] for event in events}) == len(events)
    assert said(events) == text
    assert events[-1]["data"]["status"] == "succeeded"
    return events


def said(events):
    choices = [event["data"]["choices"][0] for event in events if event["event"] == "output"]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def create(predictions):
    first = predictions.create(model=MODEL, input=INPUT)
    assert set(first) == DETAILS
    assert first["status"] in {"pending", "starting", "started", "succeeded"}
    polled = []
    whole = predictions.wait(first["id"], WaitOptions(poll_interval=0.05, on_poll=polled.append))
    text = check_whole(whole)
    assert polled[-1] == whole == predictions.get(first["id"])
    assert check_whole(predictions.create(model=MODEL + ":1", input=INPUT, wait=True)) == text
    short = CreateWaitOptions(duration=0.1 + 0.2, poll=False)
    assert predictions.create(model=NEVER, input=INPUT, wait=True, wait_options=short)["status"] in {
        *("pending", "starting", "started"),
    }
    patient = CreateWaitOptions(duration=1e-5, poll_interval=0.05)
    assert check_whole(predictions.create(model=MODEL, input=INPUT, wait=True, wait_options=patient)) == text
    return text


def stream(predictions, text):
    events = check_stream(list(predictions.create(model=MODEL, input=INPUT, wait=True, stream=True)), text)
    key = events[0]["data"]["id"]
    assert predictions.get(key)["stream"] is True
    again = check_stream(list(predictions.stream(key)), text)
    assert again[0] == events[0]
    for number, event in enumerate(events, 1):
        rest = list(predictions.stream(key, after_id=event["id"], wait=1000000.0))
        assert said(events[:number] + rest) == text
        assert rest[-1] == events[-1]
    later = predictions.create(model=MODEL, input=INPUT, stream=True)
    assert (set(later), later["stream"]) == (DETAILS, True)
    check_stream(list(predictions.stream(later["id"], wait=30)), text)
    # An idle close, from which the client comes back by itself until there is more.
    idle = CreateWaitOptions(duration=0.02)
    tries = predictions.create(model=SLOW, input=LONG, wait=True, stream=True, wait_options=idle)
    with contextlib.closing(tries) as events:
        head = [next(events) for _ in range(6)]
        key = head[0]["data"]["id"]
    with contextlib.closing(predictions.stream(key, after_id=head[-1]["id"], wait=0.02)) as events:
        more = [next(events) for _ in range(3)]
    assert len({event["id"] for event in head + more}) == 9
    predictions.cancel(key)
    ended = list(predictions.stream(key))
    assert said(ended).startswith(said(head + more))
    assert ended[-1]["event"] == "error"
    assert ended[-1]["data"] == predictions.wait(key)["error"]
    assert ended[-1]["data"]["source"] == "external"


def cancel(predictions):
    key = predictions.create(model=NEVER, input=LONG)["id"]
    assert predictions.cancel(key) is None
    assert predictions.cancel(key) is None, "asking twice is no error"
    ended = predictions.wait(key, WaitOptions(poll_interval=0.05))
    assert (ended["status"], ended["error"]["detail"]["reason"]) == ("cancelled", "requested")
    assert predictions.cancel(key) is None
    done = predictions.create(model=MODEL, input=INPUT, wait=True)["id"]
    assert refused(409, lambda: predictions.cancel(done))["error"]["code"] == "prediction_ended"
    assert predictions.get(done)["status"] == "succeeded"
    for call in (predictions.get, predictions.cancel, lambda key: list(predictions.stream(key))):
        refused(404, lambda call=call: call("00000000-0000-0000-0000-000000000000"))


def pages(predictions):
    made = [predictions.create(model=MODEL, input=INPUT, wait=True)["id"] for _ in range(6)][::-1]
    first = predictions.list({"page_size": 5})
    assert [one["id"] for one in first.items] == made[:5]
    assert first.previous_cursor is None
    second = predictions.list({"page_size": 5, "cursor": first.next_cursor})
    assert second.items[0]["id"] == made[5]
    assert predictions.list({"page_size": 5, "cursor": second.previous_cursor}) == first
    seen, cursor = [], None
    while True:
        page = predictions.list(
            {"page_size": 5, "statuses": ["cancelled", "failed"]} | ({"cursor": cursor} if cursor else {})
        )
        seen += page.items
        if not (cursor := page.next_cursor):
            break
    assert {one["status"] for one in seen} <= {"cancelled", "failed"}
    assert len({one["id"] for one in seen}) == len(seen) > 0
    assert [one["created_at"] for one in seen] == sorted((one["created_at"] for one in seen), reverse=True)
    refused(422, lambda: predictions.list({"page_size": 51}))
    refused(422, lambda: predictions.list({"statuses": ["done"]}))


def models(client):
    every = client.models.list()
    assert MODEL in [one["id"] for one in every.items]
    mine = client.models.list({"page_size": 5}, owner=OWNER)
    assert {one["owner"]["name"] for one in mine.items} == {OWNER}
    assert client.models.list(owner="nobody").items == []
    popular = client.models.list({"sort_by": "predictions_count", "sort_direction": "desc"}).items
    counts = [one["predictions_count"] for one in popular]
    assert counts == sorted(counts, reverse=True)
    assert min(counts) > 0
    found = client.models.get(MODEL)
    assert (found["name"], found["owner"]["name"], found["latest_version"]["number"]) == (NAME, OWNER, 1)
    assert found["predictions_count"] > 0
    (version,) = client.model_versions.list(MODEL).items
    assert set(version) == {"number", "release_notes", "created_at"}
    whole = client.model_versions.get(MODEL + ":1")
    assert whole == found["latest_version"]
    assert whole["compatibilities"]["openai_chat_completions"] is True
    assert set(whole["schemas"]["prediction"]) == {"input", "output", "stream_output"}
    assert whole["schemas"]["prediction"]["input"]["properties"]["n"]["anyOf"][0] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 128,
    }
    refused(404, lambda: client.models.get("nobody/nothing"))
    refused(404, lambda: client.model_versions.get(MODEL + ":99"))
    refused(404, lambda: client.model_versions.list("nobody/nothing"))


def check_input(predictions):
    for validate in (True, False):
        fine = predictions.create(model=MODEL, input=INPUT, validate_input=validate, wait=True)
        check_whole(fine)
        wrong = refused(
            422, lambda validate=validate: predictions.create(model=MODEL, input={"n": 1}, validate_input=validate)
        )
        assert wrong["detail"][0]["loc"] == ["body", "input", "messages"]
    refused(404, lambda: predictions.create(model="nobody/nothing", input=INPUT))


def webhooks(predictions, receiver):
    hook = {"url": receiver.url, "secret": SECRET}
    key = predictions.create(model=MODEL, input=INPUT, webhook=hook, wait=True)["id"]
    statuses, last = receiver.story(key)
    assert statuses == ["pending", "starting", "started", "succeeded"], statuses
    assert last == predictions.get(key)
    key = predictions.create(model=DIES, input=INPUT, webhook=hook)["id"]
    statuses, last = receiver.story(key)
    assert statuses[-1] == "failed"
    assert last["error"]["source"] == "internal"
    assert last == predictions.get(key)
    key = predictions.create(model=NEVER, input=LONG, webhook=hook)["id"]
    predictions.cancel(key)
    statuses, last = receiver.story(key)
    assert statuses[-1] == "cancelled"
    assert last == predictions.get(key)
    unsigned = predictions.create(model=MODEL, input=INPUT, webhook={"url": receiver.url}, wait=True)["id"]
    deadline = time.monotonic() + 10
    while not any(json.loads(body)["id"] == unsigned for body, _ in receiver.heard):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert {signature for body, signature in receiver.heard if json.loads(body)["id"] == unsigned} == {None}


async def asynchronous(client, text, receiver):
    predictions = client.predictions
    first = await predictions.async_create(model=MODEL, input=INPUT, webhook={"url": receiver.url, "secret": SECRET})
    whole = await predictions.async_wait(first["id"], AsyncWaitOptions(poll_interval=0.05))
    assert check_whole(whole) == text
    assert await predictions.async_get(first["id"]) == whole
    assert receiver.story(first["id"])[0] == ["pending", "starting", "started", "succeeded"]
    assert check_whole(await predictions.async_create(model=MODEL, input=INPUT, wait=True)) == text
    events = [event async for event in await predictions.async_create(model=MODEL, input=INPUT, wait=True, stream=True)]
    check_stream(events, text)
    key = events[0]["data"]["id"]
    rest = [event async for event in predictions.async_stream(key, after_id=events[2]["id"], wait=5)]
    assert said(events[:3] + rest) == text
    short = AsyncCreateWaitOptions(duration=0.1, poll=False)
    running = await predictions.async_create(model=NEVER, input=LONG, wait=True, wait_options=short)
    await predictions.async_cancel(running["id"])
    ended = await predictions.async_wait(running["id"], AsyncWaitOptions(poll_interval=0.05))
    assert ended["status"] == "cancelled"
    assert (await predictions.async_list({"page_size": 5})).items[0]["id"] == running["id"]
    assert MODEL in [one["id"] for one in (await client.models.async_list()).items]
    assert (await client.models.async_get(MODEL))["name"] == NAME
    assert (await client.model_versions.async_list(MODEL)).items[0]["number"] == 1
    assert (await client.model_versions.async_get(MODEL + ":1"))["number"] == 1
    try:
        await predictions.async_cancel(key)
    except httpx.HTTPStatusError as error:
        assert error.response.status_code == 409
    else:
        raise AssertionError("no 409")


user = wriftai.Client()
with Receiver() as hears:
    hello = create(user.predictions)
    stream(user.predictions, hello)
    cancel(user.predictions)
    webhooks(user.predictions, hears)
    pages(user.predictions)
    models(user)
    check_input(user.predictions)
    asyncio.run(asynchronous(user, hello, hears))
print("passed")
