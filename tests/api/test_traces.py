"""Predictions as spans, as a collector gets them over OTLP."""

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.api.test_metrics import CONFIG
from tests.conftest import environment, serving, until
from tests.mock_upstream import MockUpstream

ECHO = """
[models."test/echo"]
[[models."test/echo".versions]]
number = 1
engine = "scripted"
script = { echo = true }
"""
MODELS = CONFIG + ECHO
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


def traced(collector, ratio=1.0, models=MODELS):
    return f'[traces]\notlp_url = "{collector.url}"\nsample_ratio = {ratio}\n{models}'


class Collector:
    """Takes traces on a real socket; `status` is what it answers."""

    def __init__(self):
        self.spans: list[Span] = []
        self.resources: list[dict] = []
        self.keys: set[str | None] = set()
        """What requests had in a header of a test's own."""
        self.raw = b""
        self.status = 200
        self.asked = 0
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.asked += 1
                collector.keys.add(self.headers["x-collector-key"])
                if collector.status == 200:
                    collector.take(self.path, body)
                self.send_response(collector.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def take(self, path, body):
        assert path == "/v1/traces"
        self.raw += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resources.append(said(resource.resource))
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def was_asked(self, times):
        return self.asked >= times

    def server_spans(self):
        return [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]

    def one(self):
        """The one prediction's span and its parts, once they are there."""
        until(self.server_spans)
        (own,) = self.server_spans()
        parts = {span.name: span for span in self.spans if span.parent_span_id == own.span_id}
        assert len(parts) == len(self.spans) - 1
        assert {span.trace_id for span in self.spans} == {own.trace_id}
        return own, parts

    def close(self):
        self._server.shutdown()
        self._server.server_close()


def said(about):
    return {
        pair.key: [one.string_value for one in pair.value.array_value.values]
        if pair.value.HasField("array_value")
        else getattr(pair.value, pair.value.WhichOneof("value"))
        for pair in about.attributes
    }


@pytest.fixture
def collector():
    with contextlib.closing(Collector()) as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A server and its collector, for all that needs no server of its own."""
    with (
        contextlib.closing(Collector()) as collector,
        serving(tmp_path_factory.mktemp("traced"), traced(collector)) as server,
    ):
        yield server, collector


@pytest.fixture
def watched(shared):
    server, collector = shared
    collector.spans.clear()
    return server, collector


def events(server):
    return [line for line in server.logged() if line["event"] not in {"request", "prediction"}]


def test_an_answer_is_a_server_span_with_a_child_for_each_part_of_its_time(watched):
    before = time.time_ns()
    server, collector = watched
    answer = server.chat("test/hello", max_completion_tokens=50)
    own, parts = collector.one()
    assert answer.status_code == 200
    assert own.name == "chat test/hello"
    assert said(own) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "antiphon",
        "gen_ai.request.model": "test/hello",
        "gen_ai.request.stream": False,
        "gen_ai.request.max_tokens": 50,
        "gen_ai.request.temperature": 1.0,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.response.id": answer.json()["id"],
        "gen_ai.response.model": "test/hello:1",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": answer.json()["usage"]["prompt_tokens"],
        "gen_ai.usage.output_tokens": answer.json()["usage"]["completion_tokens"],
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }
    assert own.status.code == Status.STATUS_CODE_UNSET
    assert own.parent_span_id == b""
    assert collector.resources[0]["service.name"] == "antiphon"
    queue, first, rest = parts["queue"], parts["first token"], parts["generation"]
    times = [before, own.start_time_unix_nano, queue.end_time_unix_nano, first.end_time_unix_nano]
    times += [rest.end_time_unix_nano, own.end_time_unix_nano, time.time_ns()]
    assert times == sorted(times)
    assert own.start_time_unix_nano == queue.start_time_unix_nano
    assert (queue.end_time_unix_nano, first.end_time_unix_nano) == (
        first.start_time_unix_nano,
        rest.start_time_unix_nano,
    )


def test_a_stream_of_two_choices_is_one_span(watched):
    server, collector = watched
    assert server.chat("test/hello", stream=True, n=2).status_code == 200
    told = said(collector.one()[0])
    assert told["gen_ai.request.stream"] is True
    assert told["gen_ai.request.choice.count"] == 2
    assert told["gen_ai.response.finish_reasons"] == ["stop", "stop"]


def test_a_failure_is_an_error_with_its_code(watched):
    server, collector = watched
    assert server.chat("test/dies").status_code == 502
    own, parts = collector.one()
    assert said(own)["error.type"] == "engine_failed"
    assert own.status.code == Status.STATUS_CODE_ERROR
    assert own.status.message == ""
    assert set(parts) == {"queue", "first token", "generation"}


def test_a_deadline_that_passes_is_an_error_and_its_parts_end_with_it(watched):
    server, collector = watched
    late = server.chat("test/narrow", headers={"x-request-timeout-seconds": "0.2"})
    assert late.status_code == 504
    own, parts = collector.one()
    told = said(own)
    assert (told["error.type"], told["antiphon.cancel.reason"]) == ("deadline_exceeded", "deadline")
    assert own.status.code == Status.STATUS_CODE_ERROR
    assert parts["generation"].end_time_unix_nano <= own.end_time_unix_nano


def test_clients_that_leave_are_no_error_of_the_server(watched):
    """One of them has waited only: its trace has no other part."""
    body = {"model": "test/narrow", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    server, collector = watched
    running = server.open_chat(body)
    assert running.recv(1)
    waiting = server.open_chat(body)
    until(lambda: sum(one["status"] == "pending" for one in server.get("/v1/predictions").json()["items"]) == 1)
    waiting.close()
    until(lambda: len(collector.server_spans()) == 1)
    running.close()
    until(lambda: len(collector.server_spans()) == 2)
    for own in collector.server_spans():
        told = said(own)
        assert (told["error.type"], told["antiphon.cancel.reason"]) == ("prediction_cancelled", "client_gone")
        assert own.status.code == Status.STATUS_CODE_UNSET
    waited, ran = (
        {span.name for span in collector.spans if span.parent_span_id == own.span_id}
        for own in collector.server_spans()
    )
    assert waited == {"queue"}
    assert ran == {"queue", "first token", "generation"}


def test_a_prediction_in_the_background_is_traced_like_any_other(watched):
    body = {"model": "test/hello", "input": {"messages": [{"role": "user", "content": "Hi"}]}}
    server, collector = watched
    answer = server.post(json.dumps(body).encode(), path="/v1/predictions", headers={"traceparent": SAMPLED})
    assert answer.status_code < 300, answer.text
    assert collector.one()[0].trace_id.hex() == TRACE


def test_a_clients_trace_is_continued(tmp_path, collector):
    with serving(tmp_path, traced(collector, ratio=0)) as server:
        server.chat("test/hello", headers={"traceparent": SAMPLED, "tracestate": "vendor=1,other=2"})
        own, parts = collector.one()
    assert (own.trace_id.hex(), own.parent_span_id.hex()) == (TRACE, PARENT)
    assert {span.trace_state for span in (own, *parts.values())} == {"vendor=1,other=2"}


def test_what_is_no_traceparent_begins_a_trace(watched):
    wrong = (
        "",
        "x",
        SAMPLED.upper(),
        f"{SAMPLED}-more",
        f"ff{SAMPLED[2:]}",
        SAMPLED.replace(TRACE, "0" * 32),
        SAMPLED.replace(PARENT, "0" * 16),
        f"{SAMPLED}{'0' * 600}",
    )
    server, collector = watched
    for parent in wrong:
        assert server.chat("test/echo", headers={"traceparent": parent}).status_code == 200
    # One of a later version, which says more than this server knows of.
    server.chat("test/echo", headers={"traceparent": f"01{SAMPLED[2:]}-more"})
    until(lambda: len(collector.server_spans()) == len(wrong) + 1)
    *begun, continued = collector.server_spans()
    assert continued.trace_id.hex() == TRACE
    assert len({span.trace_id for span in begun} - {continued.trace_id, bytes(16)}) == len(wrong)
    assert {span.parent_span_id for span in begun} == {b""}


def test_nothing_is_sent_of_what_is_not_sampled(tmp_path, collector):
    with serving(tmp_path, traced(collector, ratio=0)) as server:
        assert server.chat("test/hello").status_code == 200
        assert server.chat("test/hello", headers={"traceparent": UNSAMPLED}).status_code == 200
        server.stop()  # which sends what waits
    assert collector.spans == []


def test_an_unsampled_trace_of_a_client_is_not_sent_whatever_the_ratio(tmp_path, collector):
    with serving(tmp_path, traced(collector)) as server:
        server.chat("test/hello", headers={"traceparent": UNSAMPLED})
        server.stop()
    assert collector.spans == []


def test_of_the_traces_that_begin_here_the_ratio_is_sampled(tmp_path, collector):
    with serving(tmp_path, traced(collector, ratio=0.5)) as server:
        for _ in range(60):
            server.chat("test/echo")
        server.stop()
    # 60 fair coins: fewer than 10 or more than 50 heads come once in ten million runs.
    assert 10 <= len(collector.server_spans()) <= 50


def test_no_content_and_no_key_is_in_any_span(tmp_path, collector):
    with serving(tmp_path, traced(collector), ANTIPHON_API_KEY="sk-CANARY-key") as server:
        server.key = "sk-CANARY-key"
        schema = {"name": "CANARY", "schema": {"type": "object"}}
        server.chat("test/echo", "CANARY-text", user="CANARY-user", metadata={"CANARY": "CANARY"}, stop=["CANARY-stop"])
        server.chat("test/echo", "CANARY-text", response_format={"type": "json_schema", "json_schema": schema})
        server.chat("test/dies", "CANARY-text", safety_identifier="CANARY-id")
        until(lambda: len(collector.server_spans()) >= 2)
        server.stop()
    assert len(collector.server_spans()) >= 2
    assert b"CANARY" not in collector.raw
    assert b"admin" not in collector.raw


def test_a_collector_that_is_away_costs_a_line_in_the_log_and_nothing_else(tmp_path, collector):
    collector.close()  # nobody listens there now
    with serving(tmp_path, traced(collector)) as server:
        for _ in range(50):
            assert server.chat("test/echo").status_code == 200
        until(lambda: len(events(server)) == 1, 10)
        for _ in range(50):
            assert server.chat("test/echo").status_code == 200
        begun = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - begun < 8
        (line,) = events(server)
    assert line["event"].startswith("traces cannot be sent")
    assert set(line) == {"event", "level", "timestamp"}


def test_a_collector_that_takes_and_never_answers_holds_nobody_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        held = f'[traces]\notlp_url = "http://127.0.0.1:{listener.getsockname()[1]}"\n{MODELS}'
        with serving(tmp_path, held) as server:
            server.chat("test/echo")
            link, _ = listener.accept()
            with link, ThreadPoolExecutor(8) as pool:
                # Some that wait longer for the collector than the server may take to end: 512 of their spans at once.
                answers = pool.map(lambda _: server.chat("test/echo").status_code, range(600))
                assert set(answers) == {200}
                begun = time.monotonic()
                assert server.stop() == 0
                assert time.monotonic() - begun < 8


def test_a_collector_that_refuses_is_one_line_and_one_that_is_back_gets_what_comes_then(tmp_path, collector):
    collector.status = 400
    with serving(tmp_path, traced(collector)) as server:
        for batch in (1, 2, 3):
            server.chat("test/echo")
            until(partial(collector.was_asked, batch))
        collector.status = 200
        server.chat("test/echo")
        collector.one()
        until(lambda: len(events(server)) >= 2)
        told = [line["event"].partition(":")[0] for line in events(server)]
    assert told == ["traces cannot be sent", "traces are sent again"]


def test_what_waits_at_the_end_is_sent(tmp_path, collector):
    with serving(tmp_path, traced(collector)) as server:
        server.chat("test/echo")
        server.stop()
    assert len(collector.server_spans()) == 1


def test_without_the_setting_nothing_of_it_is_loaded_whatever_the_environment_says(tmp_path, collector):
    with serving(tmp_path, MODELS, PYTHONPROFILEIMPORTTIME="1", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url) as server:
        assert server.chat("test/echo", headers={"traceparent": SAMPLED}).status_code == 200
        server.stop()
        loaded = server.log.read_text()
    assert "antiphon.meters.prometheus" in loaded
    assert "opentelemetry.sdk" not in loaded
    assert "antiphon.meters.traces" not in loaded
    assert '"trace_id"' not in loaded
    assert collector.spans == []


def test_without_its_packages_the_setting_is_refused_in_one_line(tmp_path, collector):
    (tmp_path / "opentelemetry" / "sdk").mkdir(parents=True)
    (tmp_path / "opentelemetry" / "sdk" / "__init__.py").touch()  # found before the real one, and empty
    (tmp_path / "antiphon.toml").write_text(traced(collector))
    where = environment(tmp_path, ANTIPHON_CONFIG=str(tmp_path / "antiphon.toml"), PYTHONPATH=str(tmp_path))
    command = [sys.executable, "-m", "antiphon.cli", "serve"]
    done = subprocess.run(command, env=where, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "pip install 'antiphon[traces]'" in line


def test_the_standard_variables_name_the_service_and_carry_the_collectors_key(tmp_path, collector):
    own = {
        "OTEL_SERVICE_NAME": "chat-eu",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=prod",
        "OTEL_EXPORTER_OTLP_HEADERS": "x-collector-key=abc",
    }
    with serving(tmp_path, traced(collector), **own) as server:
        server.chat("test/echo")
        collector.one()
        assert "abc" not in server.log.read_text()
    about = collector.resources[0]
    assert (about["service.name"], about["deployment.environment.name"]) == ("chat-eu", "prod")
    assert collector.keys == {"abc"}


def before_a_mock(collector, mock, ratio=1.0):
    models = f"""
[models."test/there"]
[[models."test/there".versions]]
number = 1
engine = "upstream"
base_url = "{mock.url}"
model = "there"
kind = "openai"
probe_s = 0
"""
    return traced(collector, ratio, models)


@pytest.fixture
def mock():
    with contextlib.closing(MockUpstream()) as found:
        yield found


@pytest.mark.parametrize("stream", [False, True])
def test_the_trace_is_handed_on_to_an_upstream_with_the_span_here_as_its_parent(tmp_path, collector, mock, stream):
    with serving(tmp_path, before_a_mock(collector, mock)) as server:
        headers = {"traceparent": SAMPLED, "tracestate": "vendor=1"}
        assert server.chat("test/there", stream=stream, headers=headers).status_code == 200
        own, _ = collector.one()
    (asked,) = mock.asked
    assert asked.headers["traceparent"] == f"00-{TRACE}-{own.span_id.hex()}-01"
    assert asked.headers["tracestate"] == "vendor=1"


def test_an_upstream_is_told_that_a_trace_is_not_sampled(tmp_path, collector, mock):
    with serving(tmp_path, before_a_mock(collector, mock, ratio=0)) as server:
        server.chat("test/there", headers={"traceparent": UNSAMPLED})
        server.chat("test/there")
    continued, begun = (asked.headers["traceparent"] for asked in mock.asked)
    assert re.fullmatch(rf"00-{TRACE}-(?!{PARENT})[0-9a-f]{{16}}-00", continued)
    assert re.fullmatch(rf"00-(?!{TRACE})[0-9a-f]{{32}}-[0-9a-f]{{16}}-00", begun)


def test_a_requests_line_in_the_log_names_its_trace(tmp_path, collector):
    with serving(tmp_path, traced(collector)) as server:
        server.chat("test/echo", headers={"traceparent": SAMPLED})
        server.get("/v1/models")
        server.stop()
        chat, models = server.logged("request")
    assert chat["trace_id"] == TRACE
    assert chat["request_id"]
    assert "trace_id" not in models
