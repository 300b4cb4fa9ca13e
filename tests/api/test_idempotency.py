"""`Idempotency-Key`: a request that is sent again is answered once."""

import contextlib
import json
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import SCRIPTED, environment, serving, until
from tests.streams import CLIENT, post

CONFIG = (
    SCRIPTED
    + r"""
[models."test/brief"]
slots = 64
[[models."test/brief".versions]]
number = 1
engine = "scripted"
script = { repeat = 5, token_s = 0.05 }
[models."test/middling"]
slots = 64
[[models."test/middling".versions]]
number = 1
engine = "scripted"
script = { repeat = 15, token_s = 0.05 }
[models."test/adds"]
slots = 64
[[models."test/adds".versions]]
number = 1
engine = "scripted"
script = { tokens = ["Well. ", "<tool_call>\n{\"name\": \"add\", \"arguments\": ", "{\"a\": 1}}\n</tool_call>"] }
"""
)
CHAT = "/v1/chat/completions"
ADD = [{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def keyed(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("keyed"), CONFIG) as server:
        yield server


def asked(model, text="x", **fields):
    return {"model": model, "messages": [{"role": "user", "content": text}], **fields}


def ask(server, key, model, **fields):
    return post(server, CHAT, asked(model, **fields), idempotency_key=key)


def told(answer):
    """What a client makes of an answer, streamed or whole: its id, its text and its finish reason."""
    assert answer.status_code == 200, answer.text
    if answer.headers["content-type"] == "application/json":
        body = answer.json()
        (choice,) = body["choices"]
        return body["id"], choice["message"]["content"], choice["finish_reason"]
    assert answer.text.endswith("data: [DONE]\n\n")
    chunks = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line.startswith("data: {")]
    (key,) = {chunk["id"] for chunk in chunks}
    choices = [chunk["choices"][0] for chunk in chunks if chunk["choices"]]
    return key, "".join(one["delta"].get("content") or "" for one in choices), choices[-1]["finish_reason"]


def predictions(server):
    return [one["id"] for one in server.get("/v1/predictions?page_size=50").json()["items"]]


@contextlib.contextmanager
def held(server, key, model, **fields):
    """A chat request on a socket of its own, begun; give the socket."""
    link = socket.create_connection(("127.0.0.1", server.port))
    link.settimeout(30)
    with contextlib.closing(link):
        link.sendall(server.request_bytes(asked(model, **fields), f"Idempotency-Key: {key}"))
        yield link


def hears(link, text):
    received = b""
    while text not in received:
        data = link.recv(65536)
        assert data, received
        received += data
    return received


def begun(server, before):
    """The one prediction that began since, once it runs."""
    (key,) = until(lambda: set(predictions(server)) - set(before))
    until(lambda: status(server, key) == "started")
    return key


def status(server, key):
    return server.get(f"/v1/predictions/{key}").json()["status"]


@pytest.mark.parametrize("streams", [(False, False), (True, True), (False, True), (True, False)])
def test_a_request_that_is_sent_again_joins_the_prediction_that_runs(keyed, streams):
    before = predictions(keyed)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda stream: ask(keyed, f"joins {streams}", "test/brief", stream=stream), streams)
    assert told(first) == told(second)
    assert told(first)[1:] == ("Hello, world!" * 5, "stop")
    assert len(set(predictions(keyed)) - set(before)) == 1


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("again", [False, True])
def test_a_request_that_is_sent_again_gets_the_result_there_is(keyed, first, again):
    before = predictions(keyed)
    key = f"kept {first} {again}"
    whole = told(ask(keyed, key, "test/hello:1", stream=first))
    assert whole[1:] == ("Hello, world!", "stop")
    assert told(ask(keyed, key, "test/hello:1", stream=again)) == whole
    assert len(set(predictions(keyed)) - set(before)) == 1


@pytest.mark.parametrize(
    "fields",
    [
        {"model": "test/hello:1", "n": 2, "logprobs": True, "top_logprobs": 1},
        {"model": "test/adds", "tools": ADD},
        {"model": "test/adds", "functions": [ADD[0]["function"]]},
        {"model": "test/hello:1", "store": True, "metadata": {"a": "b"}, "max_tokens": 2},
    ],
    ids=["choices", "tools", "a deprecated function", "stored"],
)
def test_a_result_that_is_given_again_is_the_same_to_the_last_field(keyed, fields):
    key = "same " + json.dumps(fields)[:200].replace("\n", "")
    assert ask(keyed, key, **fields).json() == ask(keyed, key, **fields).json()


def test_the_fingerprint_of_a_result_is_that_of_the_version_that_gave_it(tmp_path):
    """The newest version is another by the time the request is sent again."""
    newer = '[[models."test/brief".versions]]\nnumber = 2\nengine = "scripted"\n'
    at_first, later = CONFIG, CONFIG.replace('[models."test/adds"]', newer + '[models."test/adds"]')
    with serving(tmp_path, at_first) as server:
        first = ask(server, "k", "test/brief").json()
    with serving(tmp_path, later) as server:
        assert ask(server, "k", "test/brief").json() == first
        streamed = ask(server, "k", "test/brief", stream=True).text
        assert first["system_fingerprint"] in streamed
        assert server.chat("test/brief").json()["system_fingerprint"] != first["system_fingerprint"]


def test_how_json_is_spaced_and_ordered_does_not_make_it_another_request(keyed):
    body = asked("test/hello", foo=10**30, bar=int("1" * 390))
    wanted = {"idempotency-key": "spaced"} | {"content-type": "application/json"}
    first = keyed.post(json.dumps(body), headers=wanted)
    again = keyed.post(b"\n " + json.dumps(dict(reversed(body.items())), indent=3).encode(), headers=wanted)
    assert first.status_code == 200
    assert first.json() == again.json()


def test_another_request_with_a_key_that_is_taken_is_refused_and_not_tried_again(keyed):
    ask(keyed, "taken", "test/hello")
    answer = ask(keyed, "taken", "test/hello", temperature=0.5)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "idempotency_key_reused"
    assert answer.headers["x-should-retry"] == "false"
    before = predictions(keyed)
    with held(keyed, "taken too", "test/slow"):
        begun(keyed, before)
        assert ask(keyed, "taken too", "test/hello").status_code == 409


def test_a_key_is_of_its_account_alone(keyed):
    command = [sys.executable, "-m", "antiphon.cli", "keys", "create", "--account", "somebody"]
    config = {"ANTIPHON_CONFIG": str(keyed.home / "antiphon.toml")}
    made = subprocess.run(command, env=environment(keyed.home, **config), capture_output=True, text=True, check=True)
    other = {"authorization": f"Bearer {made.stdout.splitlines()[-1]}"}
    mine = told(ask(keyed, "shared", "test/hello"))
    theirs = CLIENT.post(
        keyed.url + CHAT, json=asked("test/echo", "secret"), headers=other | {"idempotency-key": "shared"}
    )
    assert told(theirs)[1] == "secret"
    assert told(ask(keyed, "shared", "test/hello")) == mine


@pytest.mark.parametrize("model", ["test/dies", "test/late"], ids=["failed", "past its deadline"])
def test_a_prediction_that_came_to_nothing_gives_its_key_up(keyed, model):
    before = predictions(keyed)
    codes = [ask(keyed, f"nothing {model}", model).json()["error"]["code"] for _ in range(2)]
    assert codes == [{"test/dies": "engine_failed", "test/late": "deadline_exceeded"}[model]] * 2
    assert len(set(predictions(keyed)) - set(before)) == 2


def test_a_refused_request_takes_no_key(keyed):
    assert ask(keyed, "refused", "test/hello", n=0).status_code == 422
    assert ask(keyed, "refused", "test/hello").status_code == 200


def test_who_waits_with_a_key_is_told_what_its_first_client_is(keyed):
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _: ask(keyed, "both fail", "test/late"), range(2)))
    assert [answer.json()["error"]["code"] for answer in answers] == ["deadline_exceeded"] * 2


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_client_leaving_ends_nothing_while_a_second_waits(keyed, stream):
    before = predictions(keyed)
    with ThreadPoolExecutor(1) as pool:
        with held(keyed, f"left {stream}", "test/middling", stream=stream):
            key = begun(keyed, before)
            second = pool.submit(ask, keyed, f"left {stream}", "test/middling")
            time.sleep(1)  # until the second has joined
        assert told(second.result())[1] == "Hello, world!" * 15
    assert status(keyed, key) == "succeeded"


def test_the_last_client_leaving_ends_it(keyed):
    before = predictions(keyed)
    with held(keyed, "all left", "test/slow") as first:
        key = begun(keyed, before)
        with held(keyed, "all left", "test/slow", stream=True) as second:
            hears(second, b"Hello")
            first.close()
            time.sleep(0.3)
            assert status(keyed, key) == "started"
    until(lambda: status(keyed, key) == "cancelled")


def test_a_second_client_that_leaves_before_an_answer_is_not_logged_as_answered(tmp_path):
    with serving(tmp_path, CONFIG) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, "second left", "test/middling")
        begun(server, [])
        with held(server, "second left", "test/middling"):
            time.sleep(1)  # until it has joined
        told(first.result())
        until(lambda: chats(server) == 2)
        assert sorted(line["status"] for line in server.logged("request") if line["path"] == CHAT) == [200, 409]


def test_a_client_that_leaves_and_asks_again_at_once_is_answered(keyed):
    """The prediction it left is still being ended: joining that would be an error that clients do not try again."""
    with held(keyed, "beside", "test/slow"):  # what runs beside it makes its end wait to be written
        for number in range(4):
            key, again = f"again {number}", asked("test/brief")
            with socket.create_connection(("127.0.0.1", keyed.port)) as second:
                second.settimeout(30)
                with held(keyed, key, "test/brief", stream=True) as first:
                    hears(first, b"Hello")
                    first.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset: at once
                    first.close()
                    second.sendall(keyed.request_bytes(again, f"Idempotency-Key: {key}"))
                hears(second, b"Hello, world!" * 5)


@pytest.mark.parametrize("key", ["", " ", "x" * 256, "é", "a\tb"])
def test_a_key_that_is_none_is_refused_by_name(keyed, key):
    head = b"Idempotency-Key: " + key.encode("latin-1")
    raw = keyed.request_bytes(asked("test/hello"), "Connection: close").replace(b"Connection", head + b"\r\nConnection")
    answer = keyed.raw(raw)
    assert answer.startswith(b"HTTP/1.1 422")
    assert b'"loc":["header","idempotency-key"]' in answer


def test_a_key_of_255_characters_is_one(keyed):
    key = "~" * 255
    assert told(ask(keyed, key, "test/hello")) == told(ask(keyed, key, "test/hello"))


def test_while_the_server_drains_a_key_is_refused_as_everything_and_then_stands_for_the_result(tmp_path):
    patient = CONFIG.replace("drain_s = 3", "drain_s = 30")
    with serving(tmp_path, patient) as server, ThreadPoolExecutor(1) as pool:
        first = pool.submit(ask, server, "over", "test/middling")
        begun(server, [])
        server.begin_to_drain()
        refused = ask(server, "over", "test/middling")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        whole = told(first.result())
    with serving(tmp_path, CONFIG) as server:
        assert told(ask(server, "over", "test/middling")) == whole
        assert len(predictions(server)) == 1


def test_a_key_of_a_process_that_died_is_free_when_the_server_is_started_anew(tmp_path):
    with serving(tmp_path, CONFIG) as server, held(server, "dead", "test/brief"):
        begun(server, [])
        server.process.kill()
        server.process.wait()
    with serving(tmp_path, CONFIG) as server:
        whole = told(ask(server, "dead", "test/brief"))
        assert whole[1] == "Hello, world!" * 5
        assert told(ask(server, "dead", "test/brief")) == whole
        assert [one["status"] for one in server.get("/v1/predictions").json()["items"]] == ["succeeded", "abandoned"]


def test_a_key_of_another_process_is_waited_for_as_long_as_the_client_does(tmp_path):
    shared = f'[store]\nurl = "sqlite:///{tmp_path}/shared.db"\n' + CONFIG
    with (
        serving(tmp_path / "one", shared) as one,
        serving(tmp_path / "two", shared) as two,
        ThreadPoolExecutor(2) as pool,
    ):
        first = pool.submit(ask, one, "elsewhere", "test/brief")
        begun(one, [])
        assert told(ask(two, "elsewhere", "test/brief", stream=True)) == told(first.result())
        before = predictions(one)
        with held(one, "long", "test/slow"):
            begun(one, before)
            before = chats(two)
            with held(two, "long", "test/slow"):
                time.sleep(0.6)  # until it waits
                assert chats(two) == before
            until(lambda: chats(two) == before + 1)
            late = post(two, CHAT, asked("test/slow"), idempotency_key="long", x_request_timeout_seconds="0.6")
            assert (late.status_code, late.headers["x-should-retry"]) == (504, "false")


def chats(server):
    """How many chat requests a server has done with."""
    return sum(line["path"] == CHAT for line in server.logged("request"))
