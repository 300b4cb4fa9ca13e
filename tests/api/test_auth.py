"""Who may ask: group AUTH."""

import contextlib
import json
import sqlite3
import subprocess
import sys
import time

import httpx
import pytest

from tests.conftest import SCRIPTED, environment, serving, until

PUBLIC = {"/healthz", "/readyz", "/docs", "/openapi.json"}
ASK = {"model": "test/hello", "messages": [{"role": "user", "content": "x"}]}


def ask(server, **headers):
    return httpx.post(f"{server.url}/v1/chat/completions", json=ASK, headers=headers)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", "Basic sk-test-key", "sk-test-key", "Bearer sk-test-key extra"],
)
def test_a_missing_malformed_or_unknown_key_is_one_and_the_same_401(stage, header):
    """AUTH-01, AUTH-02."""
    answer = ask(stage, **({} if header is None else {"authorization": header}))
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.text == ask(stage).text


@pytest.mark.parametrize("header", ["Bearer sk-test-key", "bearer sk-test-key", "BEARER  sk-test-key"])
def test_the_scheme_is_read_in_any_case(stage, header):
    assert ask(stage, authorization=header).status_code == 200


@pytest.mark.parametrize(
    "key",
    ["'", '"; DROP TABLE keys;--', "%", "\\", "é", "' OR '1'='1", "\U0001f511", "x" * 65_000],
    ids=["quote", "sql", "percent", "backslash", "non-ascii", "or", "emoji", "64K"],
)
def test_a_strange_key_is_a_401_and_never_a_fault_of_ours(stage, key):
    """AUTH-09."""
    answer = httpx.post(
        f"{stage.url}/v1/chat/completions", json=ASK, headers={b"authorization": b"Bearer " + key.encode()}
    )
    assert answer.status_code in {401, 431}


@pytest.mark.parametrize("place", ["x-api-key", "api-key", "cookie", "query"])
def test_a_key_in_any_other_place_is_no_key(stage, place):
    """AUTH-04, AUTH-05."""
    url = f"{stage.url}/v1/chat/completions" + ("?api_key=sk-test-key" if place == "query" else "")
    headers = {} if place == "query" else {place: "sk-test-key"}
    assert httpx.post(url, json=ASK, headers=headers).status_code == 401


def test_two_authorization_headers_are_refused(stage):
    answer = stage.raw(stage.request_bytes(ASK, "Authorization: Bearer other"))
    assert answer.startswith(b"HTTP/1.1 400")
    assert json.loads(answer.split(b"\r\n\r\n")[1])["error"]["code"] == "malformed_http"


@pytest.mark.parametrize("host", ["x/?", "a/health?", "evil#", "a b", "", None, "twice"])
def test_a_malformed_host_is_refused(stage, host):
    """AUTH-06."""
    hosts = {None: b"", "twice": b"Host: a\r\nHost: b\r\n"}.get(host, f"Host: {host}\r\n".encode())
    answer = stage.raw(b"GET /v1/models HTTP/1.1\r\n" + hosts + b"\r\n")
    assert answer.startswith(b"HTTP/1.1 400"), answer


@pytest.mark.parametrize(
    "path",
    [
        "//v1/models",
        "/v1/%6dodels",
        "/V1/models",
        "/v1/../v1/models",
        "/v1/models/",
        "/nothing",
        "/healthz/",
        "/docs/x",
    ],
)
def test_no_spelling_of_a_path_gets_in_without_a_key(stage, path):
    answer = stage.raw(b"GET " + path.encode() + b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 401"), answer


def test_every_route_but_health_and_docs_needs_a_key(stage):
    """AUTH-07: a route that is added open fails here."""
    paths = set(httpx.get(f"{stage.url}/openapi.json").json()["paths"]) | PUBLIC | {"/metrics", "/docs/oauth2-redirect"}
    for path in paths:
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"):
            status = httpx.request(method, stage.url + path.replace("{model}", "a/b")).status_code
            assert status == 401 or (path in PUBLIC and status in {200, 405}), (method, path, status)


def keys(home, *arguments):
    command = [sys.executable, "-m", "antiphon.cli", "keys", *arguments]
    return subprocess.run(command, env=environment(home), capture_output=True, text=True, check=True).stdout


def test_a_key_works_from_its_making_to_its_revocation(tmp_path):
    """AUTH-03."""
    with serving(tmp_path, SCRIPTED) as server:
        secret = keys(tmp_path, "create", "--account", "somebody", "--name", "a laptop").splitlines()[-1]
        assert ask(server, authorization=f"Bearer {secret}").status_code == 200
        listed = keys(tmp_path, "list")
        assert "a laptop" in listed
        assert secret not in listed
        keys(tmp_path, "revoke", listed.split()[0])
        time.sleep(3)
        assert ask(server, authorization=f"Bearer {secret}").status_code == 401
        assert ask(server, authorization="Bearer sk-test-key").status_code == 200
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert (tmp_path / "antiphon.db").stat().st_mode & 0o777 == 0o600


def test_a_private_model_answers_its_own_account_only_and_others_as_if_it_were_unknown(tmp_path):
    with serving(tmp_path, SCRIPTED) as server:
        secret = keys(tmp_path, "create", "--account", "somebody").splitlines()[-1]
        owner = {"authorization": f"Bearer {secret}"}
        assert server.chat("test/secret", headers=owner).status_code == 200
        assert any(m["id"] == "test/secret" for m in server.get("/v1/models", **owner).json()["data"])
        hidden, unknown = server.chat("test/secret"), server.chat("test/nobody")
        assert hidden.status_code == unknown.status_code == 404
        assert hidden.text.replace("secret", "nobody") == unknown.text
        assert "test/secret" not in server.get("/v1/models").text
        assert server.get("/v1/models/test/secret").status_code == 404


def test_no_key_and_no_content_is_ever_logged(tmp_path):
    """AUTH-10, AUTH-11."""
    with serving(tmp_path, SCRIPTED, ANTIPHON_API_KEY="sk-CANARY-key") as server:
        server.key = "sk-CANARY-key"
        for text, model in (
            ("CANARY-text", "test/hello"),
            ("CANARY-text", "a/b\r\nforged: line"),
            ("CANARY-text", "x"),
        ):
            server.chat(model, text, user="CANARY-user")
            server.chat(model, text, n="CANARY-value")
        httpx.get(
            f"{server.url}/v1/x%0d%0aforged?key=sk-CANARY-query", headers={"authorization": "Bearer sk-CANARY-bad"}
        )
        log = server.log.read_text()
        assert "CANARY" not in log + server.banner
        assert not any(line.startswith("forged") for line in log.splitlines())
        assert b"CANARY" not in (tmp_path / "antiphon.db").read_bytes()


def test_a_fault_of_the_server_is_logged_with_its_request_and_its_place_and_without_content(tmp_path):
    """A driver's errors carry what it was to write."""
    with serving(tmp_path, SCRIPTED) as server:
        with contextlib.closing(sqlite3.connect(tmp_path / "antiphon.db")) as database:
            database.execute("CREATE TRIGGER t BEFORE INSERT ON predictions BEGIN SELECT RAISE(ABORT, 'no'); END")
            database.commit()
        text = "CANARY-text"
        answer = server.chat("test/hello", text, store=True, metadata={"CANARY": "CANARY"}, user="CANARY-user")
        assert answer.status_code == 503
        lines = until(lambda: [line for line in server.logged() if "exception" in line])
        log = server.log.read_text()
    assert lines[0]["id"] == answer.headers["x-request-id"]
    assert "recorder.py" in lines[0]["exception"]
    assert "IntegrityError" in lines[0]["exception"]
    assert "CANARY" not in log


def test_a_server_others_can_reach_does_not_start_without_a_key(tmp_path):
    """AUTH-13."""
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", "serve"],
        env=environment(tmp_path, ANTIPHON_HOST="0.0.0.0"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "keys create" in done.stderr
