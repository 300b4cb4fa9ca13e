"""The command line, as a person meets it: one clear line, a non-zero exit, nothing half-written."""

import json
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from tests.conftest import SCRIPTED, environment, real_config, serving, until


def antiphon(home, *arguments, **extra):
    command = [sys.executable, "-m", "antiphon.cli", *arguments]
    return subprocess.run(
        command, env=environment(home, **extra), capture_output=True, text=True, timeout=60, check=False
    )


def assert_one_line(done, *words):
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("antiphon: ")
    for word in words:
        assert word in done.stderr
    assert done.stdout == ""


def config(tmp_path, text):
    file = tmp_path / "a.toml"
    file.write_text(text)
    return {"ANTIPHON_CONFIG": str(file)}


def test_a_bad_configuration_is_one_line(tmp_path):
    assert_one_line(antiphon(tmp_path, "serve", **config(tmp_path, "[server]\nprot = 1\n")), "server.prot", "port?")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.toml"]


def test_a_missing_configuration_file_is_one_line(tmp_path):
    assert_one_line(
        antiphon(tmp_path, "serve", ANTIPHON_CONFIG=str(tmp_path / "none.toml")), "none.toml", "No such file"
    )


def test_a_taken_port_is_one_line_and_nothing_is_loaded_first(tmp_path, weights):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        begun = time.monotonic()
        done = antiphon(tmp_path, "serve", **config(tmp_path, real_config(weights)), ANTIPHON_PORT=port)
    assert_one_line(done, port, "in use")
    assert time.monotonic() - begun < 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.toml"]


def test_a_missing_weight_file_is_one_line(tmp_path, weights):
    text = real_config((tmp_path / "none.gguf", weights[1]))
    assert_one_line(antiphon(tmp_path, "serve", **config(tmp_path, text)), "none.gguf", "no such file")


def test_a_corrupt_weight_file_is_one_line(tmp_path, weights):
    """SUP-06: it is checked before it is loaded."""
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(weights[0].read_bytes()[:1_000_000])
    done = antiphon(tmp_path, "serve", **config(tmp_path, real_config((broken, weights[1]))))
    assert_one_line(done, "broken.gguf", "damaged")


@pytest.mark.parametrize("content", [b"", b"not a model", b"GGUF" + b"\xff" * 100], ids=["empty", "text", "header"])
def test_a_file_that_is_no_model_is_one_line_though_its_hash_is_not_given(tmp_path, content):
    """SUP-05, in small: the child dies or refuses alone."""
    file = tmp_path / "odd.gguf"
    file.write_bytes(content)
    text = f'[[models."a/b".versions]]\nnumber = 1\nengine = "llamacpp"\nweights = "file:{file}"\n'
    done = antiphon(tmp_path, "serve", ANTIPHON_API_KEY="k", **config(tmp_path, text))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("antiphon: ")
    assert "Traceback" not in done.stderr


def test_a_changed_version_is_refused_and_a_changed_size_is_not(tmp_path):
    base = '[models."a/b"]\nslots = {slots}\n[[models."a/b".versions]]\nnumber = 1\n'
    base += 'engine = "scripted"\nscript = {script}\n'
    with serving(tmp_path, base.format(slots=1, script='{ tokens = ["one"] }')) as server:
        assert server.stop() == 0
    changed = config(tmp_path, base.format(slots=1, script='{ tokens = ["two"] }'))
    assert_one_line(antiphon(tmp_path, "serve", ANTIPHON_API_KEY="k", **changed), "immutable", "version 2")
    with serving(tmp_path, base.format(slots=5, script='{ tokens = ["one"] }')) as server:
        assert server.chat("a/b").json()["choices"][0]["message"]["content"] == "one"


def test_check_says_what_is_wrong_with_a_file_and_when_nothing_is(tmp_path):
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text(SCRIPTED)
    bad.write_text('[server]\ndrain_s = -1\n[store]\nurl = "x"\n')
    done = antiphon(tmp_path, "check", str(good))
    assert (done.returncode, "ok" in done.stdout) == (0, True)
    done = antiphon(tmp_path, "check", str(bad))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 2


UNFIT = """
[[models."a/one".versions]]
number = 1
engine = "upstream"
base_url = "http://127.0.0.1:9/v1"
model = "m"
api_key_env = "NOT_SET_HERE"
{option}
[[models."a/two".versions]]
number = 1
engine = "scripted"
script = {script}
"""


@pytest.mark.parametrize(
    ("option", "script", "said"),
    [
        ('has = ["sight"]', "{}", "a/one:1: sight is no feature"),
        ('headers = { Host = "x" }', "{}", "a/one:1: the header 'host' cannot be set"),
        ("", "{ tokkens = [] }", "a/two:1: its script is wrong"),
    ],
)
def test_check_finds_what_no_engine_can_be_made_of_and_needs_no_keys(tmp_path, option, script, said):
    file = tmp_path / "unfit.toml"
    file.write_text(UNFIT.format(option=option, script=script))
    done = antiphon(tmp_path, "check", str(file))
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{file}: {said}")
    file.write_text(UNFIT.format(option="", script="{}"))
    assert antiphon(tmp_path, "check", str(file)).returncode == 0


def test_the_first_start_makes_a_key_and_the_second_does_not(tmp_path):
    with serving(tmp_path, SCRIPTED, ANTIPHON_API_KEY="") as server:
        key = next(line.split()[1] for line in server.banner.splitlines() if line.strip().startswith("key "))
        server.key = key
        assert server.chat("test/hello").status_code == 200
        assert f"Bearer {key}" in server.banner
        assert "make more with: antiphon keys create --account NAME)" in server.banner
        assert key not in server.log.read_text()
    with serving(tmp_path, SCRIPTED, ANTIPHON_API_KEY="") as server:
        assert "key  " not in server.banner
        assert "$ANTIPHON_API_KEY" in server.banner
        server.key = key
        assert server.chat("test/hello").status_code == 200


def test_a_new_key_stands_alone_on_the_last_line(tmp_path):
    done = antiphon(tmp_path, "keys", "create", "--account", "ann")
    last = done.stdout.splitlines()[-1]
    assert last.startswith("sk-antiphon-")
    assert len(last.split()) == 1
    assert_one_line(antiphon(tmp_path, "keys", "revoke", "key_none"), "key_none")
    assert antiphon(tmp_path, "keys", "create", "--account", "").returncode == 1


@pytest.mark.parametrize("content", [b"garbage" * 1000, "newer"], ids=["garbage", "newer"])
def test_a_database_that_is_not_ours_or_newer_is_refused_and_left_alone(tmp_path, content):
    """DB-05."""
    path = tmp_path / "antiphon.db"
    if content == "newer":
        antiphon(tmp_path, "keys", "list")
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version=99")
        connection.close()
    else:
        path.write_bytes(content)
    before = path.read_bytes()
    assert_one_line(antiphon(tmp_path, "keys", "create", "--account", "ann"), "antiphon.db")
    assert path.read_bytes() == before


def test_models_are_listed_and_shown(tmp_path):
    extra = config(tmp_path, SCRIPTED)
    assert "test/hello" in antiphon(tmp_path, "models", "list", **extra).stdout
    assert '"number": 3' in antiphon(tmp_path, "models", "show", "test/hello", **extra).stdout
    assert_one_line(antiphon(tmp_path, "models", "show", "a/b", **extra), "a/b")


@pytest.fixture
def told(tmp_path):
    """A server, and the command line on its home."""
    with serving(tmp_path, SCRIPTED) as server:
        yield server, lambda *words: antiphon(tmp_path, "predictions", *words)


def begin(server, model):
    body = {"model": model, "input": {"messages": [{"role": "user", "content": "Hi"}]}}
    created = server.post(json.dumps(body), path="/v1/predictions")
    assert created.status_code == 201
    return created.json()["id"]


def test_a_prediction_is_cancelled_from_the_command_line_within_two_seconds(told):
    server, predictions = told
    running = begin(server, "test/slow")
    assert predictions("cancel", running).returncode == 0
    ended = until(lambda: (p := server.get(f"/v1/predictions/{running}").json())["status"] == "cancelled" and p, 2)
    assert ended["error"]["detail"]["reason"] == "requested"
    assert_one_line(predictions("cancel", running), "ended", "cancelled")


def test_predictions_are_listed_newest_first_and_shown_by_either_id(told):
    server, predictions = told
    first, second = begin(server, "test/hello"), begin(server, "test/dies")
    until(lambda: server.get(f"/v1/predictions/{second}").json()["status"] == "failed")
    listed = predictions("list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == [second, first]
    assert "engine_failed" in listed[0]
    assert "succeeded" in listed[1]
    assert [line.split()[0] for line in predictions("list", "--status", "failed").stdout.splitlines()] == [second]
    assert predictions("list", "--account", "nobody").stdout == ""
    shown = json.loads(predictions("show", f"chatcmpl-{first.replace('-', '')}").stdout)
    assert shown["output"]["choices"][0]["message"]["content"] == "third"


@pytest.mark.parametrize("word", ["show", "cancel"])
def test_a_prediction_that_is_not_there_is_one_line(tmp_path, word):
    assert_one_line(antiphon(tmp_path, "predictions", word, "00000000-0000-4000-8000-000000000000"), "no prediction")
    assert_one_line(antiphon(tmp_path, "predictions", word, "../etc"), "not a prediction's id")
