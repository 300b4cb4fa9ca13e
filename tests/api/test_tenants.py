"""What belongs to another account is what does not exist: group TEN, over both stores.

The other account asks once the process that ran the prediction and once another one that shares its database.
"""

import uuid

import anyio
import httpx
import pytest

from tests.conftest import until
from tests.lives import MESSAGES, crowd, key_of, line, said


@pytest.fixture(scope="module")
def keys(pair):
    """The keys of two accounts."""
    return {name: key_of(pair[0], name) for name in ("ann", "ben")}


@pytest.fixture(params=["same", "other"])
def asked(request, pair):
    """The process that Ann asks."""
    return pair[request.param == "other"]


@pytest.fixture
def ann(asked, keys):
    with client_of(asked, keys["ann"]) as client:
        yield client


@pytest.fixture
def ben(kept, keys):
    with client_of(kept, keys["ben"]) as client:
        yield client


def client_of(server, key):
    return httpx.Client(base_url=server.url, headers={"authorization": f"Bearer {key}"}, timeout=20, verify=False)


def ask(client, model="test/echo", text="a secret", **fields):
    body = {"model": model, "messages": [{"role": "user", "content": text}], **fields}
    answer = client.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200, answer.text
    return answer


def create(client, model, **fields):
    made = client.post("/v1/predictions", json={"model": model, "input": {"messages": MESSAGES, **fields}})
    assert made.status_code == 201
    return made.json()["id"]


def seen(answer, name):
    """Everything of an answer that tells anything, the name that was asked for left out."""
    headers = {key: value for key, value in answer.headers.items() if key not in {"x-request-id", "date", VARIES}}
    return answer.status_code, headers, answer.text.replace(name, "NAME")


VARIES = "openai-processing-ms"
PREDICTION = [
    ("GET", "/v1/predictions/{}"),
    ("GET", "/v1/predictions/{}/stream"),
    ("GET", "/v1/predictions/{}/stream?after_id=init"),
    ("GET", "/v1/predictions/{}/stream?after_id=nonsense"),
    ("POST", "/v1/predictions/{}/cancel"),
]
COMPLETION = [
    ("GET", "/v1/chat/completions/{}"),
    ("GET", "/v1/chat/completions/{}/messages"),
    ("GET", "/v1/chat/completions/{}/messages?after=" + "chatcmpl-0"),
    ("POST", "/v1/chat/completions/{}"),
    ("DELETE", "/v1/chat/completions/{}"),
    ("GET", "/v1/chat/completions?after={}"),
]


@pytest.mark.parametrize(("method", "path"), PREDICTION)
@pytest.mark.parametrize("state", ["running", "ended"])
def test_somebody_else_s_prediction_answers_as_one_that_never_was(ann, ben, method, path, state):
    """TEN-01, TEN-03."""
    key = create(ben, "test/slow", max_tokens=4 if state == "ended" else 400)
    until(
        lambda: ben.get(f"/v1/predictions/{key}").json()["status"] == ("started" if state == "running" else "succeeded")
    )
    before = ben.get(f"/v1/predictions/{key}").json()
    unknown = str(uuid.uuid4())
    hidden = ann.request(method, path.format(key))
    assert hidden.status_code == 404
    assert seen(hidden, key) == seen(ann.request(method, path.format(unknown)), unknown)
    assert ben.get(f"/v1/predictions/{key}").json() == before, "asking has changed it"
    assert ben.request("POST", f"/v1/predictions/{key}/cancel").status_code == (200 if state == "running" else 409)


@pytest.mark.parametrize(("method", "path"), COMPLETION)
def test_somebody_else_s_stored_completion_answers_as_one_that_never_was(ann, ben, method, path):
    """TEN-01."""
    key = ask(ben, store=True, metadata={"whose": "ben"}).json()["id"]
    path_of, body = path.format, {"metadata": {"whose": "ann"}} if method == "POST" else None
    unknown = f"chatcmpl-{uuid.uuid4().hex}"
    hidden = ann.request(method, path_of(key), json=body)
    assert hidden.status_code == 404
    assert seen(hidden, key) == seen(ann.request(method, path_of(unknown), json=body), unknown)
    kept = ben.get(f"/v1/chat/completions/{key}")
    assert (kept.status_code, kept.json()["metadata"]) == (200, {"whose": "ben"})


def test_lists_and_filters_show_nothing_of_another_account(ann, ben):
    """TEN-02."""
    mine = {ask(ann, store=True, metadata={"k": "v"}).json()["id"] for _ in range(2)}
    theirs = {ask(ben, store=True, metadata={"k": "v"}).json()["id"] for _ in range(3)}
    for path in ("?limit=100", "?limit=100&metadata[k]=v", "?limit=100&model=test/echo", "?limit=100&order=desc"):
        listed = {one["id"] for one in ann.get(f"/v1/chat/completions{path}").json()["data"]}
        assert mine <= listed
        assert not theirs & listed
    for path in (
        "?page_size=50",
        "?page_size=50&statuses=succeeded",
        "?page_size=50&statuses=succeeded&statuses=failed",
    ):
        listed = {one["id"].replace("-", "") for one in ann.get(f"/v1/predictions{path}").json()["items"]}
        assert {key.removeprefix("chatcmpl-") for key in mine} <= listed
        assert not {key.removeprefix("chatcmpl-") for key in theirs} & listed


def test_a_cursor_of_somebody_else_s_shows_only_what_is_one_s_own(ann, ben):
    """TEN-02."""
    for client in (ann, ben):
        for _ in range(6):
            ask(client)
    mine, cursor = set(), ""
    while cursor is not None:
        page = ann.get(f"/v1/predictions?page_size=50{cursor}").json()
        mine |= {one["id"] for one in page["items"]}
        cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    page = ben.get("/v1/predictions?page_size=5").json()
    for cursor in (
        page["next_cursor"],
        ben.get(f"/v1/predictions?cursor={page['next_cursor']}").json()["previous_cursor"],
    ):
        used = ann.get(f"/v1/predictions?page_size=50&cursor={cursor}")
        assert used.status_code == 200
        assert {one["id"] for one in used.json()["items"]} <= mine


TAMPERED = [
    "x",
    "' OR 1=1--",
    "bjEtMA==",
    "%00",
    "é",
    "A" * 200,
    "A" * 300,
    "bjk5OTk5OTk5OTk5OTk5OTk5OTktMDAw",
    "-1",
    "null",
]


@pytest.mark.parametrize("cursor", TAMPERED, ids=range(len(TAMPERED)))
def test_a_cursor_that_is_none_of_ours_is_refused(ann, cursor):
    """TEN-02."""
    answer = ann.get("/v1/predictions", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "cursor"])
    assert cursor[:50] not in answer.text or len(cursor) < 4


@pytest.mark.parametrize("size", ["1000000000", "51", "4", "0", "-1", "1.5", "x", "99999999999999999999999"])
def test_a_page_of_any_other_size_is_refused(ann, size):
    """TEN-02."""
    answer = ann.get(f"/v1/predictions?page_size={size}")
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "page_size"])


def test_one_idempotency_key_of_two_accounts_is_two_keys(ann, ben):
    """TEN-04."""
    key = {"idempotency-key": uuid.uuid4().hex}
    body = {"model": "test/echo", "messages": MESSAGES}
    first, second = (client.post("/v1/chat/completions", json=body, headers=key) for client in (ann, ben))
    assert first.json()["id"] != second.json()["id"]
    assert [client.post("/v1/chat/completions", json=body, headers=key).json() for client in (ann, ben)] == [
        first.json(),
        second.json(),
    ]
    other = {"model": "test/echo", "messages": [{"role": "user", "content": "y"}]}
    assert ann.post("/v1/chat/completions", json=other, headers=key).status_code == 409


PRIVATE = [
    ("GET", "/v1/models/test/{}"),
    ("GET", "/v1/models/test/{}:1"),
    ("GET", "/v1/models/test%2F{}"),
    ("GET", "/v1/models/test/{}/versions"),
    ("GET", "/v1/models/test/{}/versions/1"),
    ("POST", "/v1/models/test/{}/predictions"),
    ("POST", "/v1/models/test/{}/versions/1/predictions"),
    ("POST", "/v1/predictions"),
    ("POST", "/v1/chat/completions"),
]


@pytest.mark.parametrize("agent", ["wriftai-python/0.34", "openai"])
@pytest.mark.parametrize(("method", "path"), PRIVATE)
def test_somebody_else_s_private_model_answers_as_one_that_never_was(ann, agent, method, path):
    answers = []
    for name in ("secret", "nobody"):
        body = None
        if method == "POST":
            body = {"input": {"messages": MESSAGES}} | ({} if "/models/" in path else {"model": f"test/{name}"})
        if path.endswith("completions"):
            body = {"model": f"test/{name}", "messages": MESSAGES}
        answers.append(seen(ann.request(method, path.format(name), json=body, headers={"user-agent": agent}), name))
    assert answers[0][0] == 404
    assert answers[0] == answers[1]


@pytest.mark.parametrize("agent", ["wriftai-python/0.34", "openai"])
def test_an_owner_s_list_and_the_list_of_all_leave_private_models_out(ann, agent):
    for path in ("/v1/models", "/v1/models/test"):
        answer = ann.get(path, headers={"user-agent": agent})
        assert answer.status_code == 200
        assert "hello" in answer.text
        assert "secret" not in answer.text
    hidden, unknown = (ann.get(f"/v1/models/{name}", headers={"user-agent": agent}) for name in ("hermit", "noowner"))
    assert seen(hidden, "hermit") == seen(unknown, "noowner")


def test_metrics_tell_of_a_private_model_to_its_account_and_to_the_admin_only(pair, ann, asked):
    with client_of(asked, key_of(pair[0], "somebody")) as owner:
        assert "test/secret" in owner.get("/metrics").text
    assert "test/secret" in asked.get("/metrics").text
    told = ann.get("/metrics").text
    assert "test/hello" in told
    assert "test/secret" not in told


def test_a_departure_from_the_queue_leaves_who_is_answered_alone(kept, keys, ben):
    """TEN-05; one slot."""

    async def leave():
        async with line(kept) as one:
            auth = f"Bearer {keys['ann']}"
            await one.send(
                "POST", "/v1/chat/completions", {"model": "test/narrow", "messages": MESSAGES}, Authorization=auth
            )
            await anyio.sleep(0.2)

    key = create(ben, "test/narrow", max_tokens=30)
    until(lambda: ben.get(f"/v1/predictions/{key}").json()["status"] == "started")
    anyio.run(leave)
    record = until(lambda: (one := ben.get(f"/v1/predictions/{key}").json())["status"] == "succeeded" and one)
    assert said(record) == "".join(["Hello", ",", " world", "!"] * 8)[: len(said(record))]
    assert record["metrics"]["usage"]["completion_tokens"] == 30


def test_of_fifty_words_each_client_hears_its_own_and_each_record_keeps_its_own(pair):
    """TEN-07, without the crash: one account each would be fifty keys, so these are fifty clients of one."""
    heard = []

    async def once(number):
        word = f"marker-{number}-{uuid.uuid4().hex}"
        server = pair[number % 2]
        body = {"model": "test/echo", "messages": [{"role": "user", "content": word}], "stream": number % 3 == 0}
        async with line(server) as one:
            answer = await one.ask("POST", "/v1/chat/completions", body)
        assert answer.body.count(word.encode()) == 1
        assert answer.body.count(b"marker-") == 1
        heard.append((answer.headers["x-request-id"], word))

    async def everything():
        await crowd(200, 50, once)

    anyio.run(everything)
    for key, word in heard[:50]:
        record = pair[1].get(f"/v1/predictions/{key}").json()
        assert said(record) == word
        assert record["input"]["messages"][0]["content"] == word
