"""Stored completions asked for as no client of OpenAI's would: what is refused, and who sees what."""

import subprocess
import sys
from urllib.parse import quote

import pytest

from tests.conftest import environment
from tests.streams import CLIENT, post

PATH = "/v1/chat/completions"


def filters(**pairs):
    return "&".join(f"metadata%5B{quote(key)}%5D={quote(value)}" for key, value in pairs.items())


@pytest.mark.parametrize(
    ("query", "place"),
    [
        (filters(**{"k" * 65: "x"}), "metadata"),
        (filters(**{f"k{number}": "x" for number in range(17)}), "metadata"),
        (f"{filters(a='x')}&{filters(a='y')}", "metadata"),
        *(("limit=0", "limit"), ("limit=101", "limit"), ("limit=x", "limit"), ("order=up", "order")),
    ],
    ids=["a long key", "many pairs", "a key twice", "limit 0", "limit 101", "limit x", "order"],
)
def test_a_list_asked_for_wrongly_is_refused_by_name_and_never_given_whole(stage, query, place):
    stage.chat("test/echo", store=True)
    answer = stage.get(f"{PATH}?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["query", place]


@pytest.mark.parametrize(
    "query", [filters(a="\0"), filters(**{"\0": "x"}), "model=%00", "model=%ff", filters(a="x" * 600)]
)
def test_what_no_completion_can_have_finds_none(stage, query):
    stage.chat("test/echo", store=True)
    answer = stage.get(f"{PATH}?{query}")
    assert (answer.status_code, answer.json()["data"]) == (200, [])


@pytest.mark.parametrize("after", ["x", "chatcmpl-", "chatcmpl-" + "0" * 32, "chatcmpl-" + "A" * 32, "%00"])
def test_a_list_goes_on_after_a_stored_completion_only(stage, after):
    answer = stage.get(f"{PATH}?after={after}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (404, "after")


@pytest.mark.parametrize("key", ["x", "chatcmpl-" + "0" * 32, "%00", "chatcmpl-" + "é" * 32, "chatcmpl-x/messages"])
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST"])
def test_a_completion_that_is_not_stored_is_unknown(stage, key, method):
    if method != "GET" and key.endswith("messages"):
        return
    sent = {"json": {"metadata": {}}} if method == "POST" else {}
    answer = CLIENT.request(method, f"{stage.url}{PATH}/{key}", headers=stage.headers, **sent)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "completion_not_found")


def test_what_one_account_stored_is_not_there_for_another(stage):
    command = [sys.executable, "-m", "antiphon.cli", "keys", "create", "--account", "nosy"]
    config = {"ANTIPHON_CONFIG": str(stage.home / "antiphon.toml")}
    made = subprocess.run(command, env=environment(stage.home, **config), capture_output=True, text=True, check=True)
    nosy = {"authorization": f"Bearer {made.stdout.splitlines()[-1]}"}
    kept = stage.chat("test/echo", store=True, metadata={"a": "b"}).json()["id"]
    one = f"{stage.url}{PATH}/{kept}"
    tries = [
        CLIENT.get(one, headers=nosy),
        CLIENT.get(one + "/messages", headers=nosy),
        CLIENT.post(one, json={"metadata": {}}, headers=nosy),
        CLIENT.delete(one, headers=nosy),
        CLIENT.get(f"{stage.url}{PATH}?after={kept}", headers=nosy),
    ]
    assert {answer.status_code for answer in tries} == {404}
    assert CLIENT.get(f"{stage.url}{PATH}?metadata%5Ba%5D=b", headers=nosy).json()["data"] == []
    assert stage.get(f"{PATH}/{kept}").json()["metadata"] == {"a": "b"}


def test_what_failed_or_was_cut_short_by_its_client_is_not_stored(stage):
    answer = stage.chat("test/dies", store=True, metadata={"run": "dies"})
    key = answer.headers["x-request-id"]
    assert stage.get(f"{PATH}/chatcmpl-{key.replace('-', '')}").status_code == 404
    assert stage.get(f"{PATH}?{filters(run='dies')}").json()["data"] == []


@pytest.mark.parametrize(
    "sent", [[], None, {}, {"metadata": {"a": 5}}, {"metadata": {}, "x": 1}, {"metadata": {"a" * 65: "b"}}]
)
def test_metadata_that_is_none_is_refused_and_changes_nothing(stage, sent):
    kept = stage.chat("test/echo", store=True, metadata={"a": "b"}).json()["id"]
    assert post(stage, f"{PATH}/{kept}", sent).status_code == 422
    assert stage.get(f"{PATH}/{kept}").json()["metadata"] == {"a": "b"}


def test_a_prediction_can_be_stored_as_well(stage):
    sent = {"messages": [{"role": "user", "content": "x y"}], "store": True, "metadata": {"by": "a prediction"}}
    key = post(stage, "/v1/predictions", {"model": "test/echo", "input": sent}, prefer="wait").json()["id"]
    (found,) = stage.get(f"{PATH}?{filters(by='a prediction')}").json()["data"]
    assert (found["request_id"], found["choices"][0]["message"]["content"]) == (key, "x y")
    assert stage.get(f"{PATH}/{found['id']}/messages").json()["data"][0]["content"] == "x y"
