"""Several servers behind one version: whose turn it is, who is left alone, and how one that failed comes back."""

import itertools
import json
import time

import pytest

from antiphon.domain.errors import EngineUnavailable
from antiphon.engines.upstream.endpoints import COOL_S, FAILURES, Endpoints
from tests import mock_upstream as mock
from tests.conftest import serving, until
from tests.engines.test_upstream import version
from tests.mock_upstream import CLOSE, HOLD, STREAM, MockUpstream, plain


@pytest.fixture
def pair():
    servers = MockUpstream(), MockUpstream()
    yield servers
    for server in servers:
        server.close()


def behind(pair, *weights):
    """A version that has both behind it."""
    table = '[[models."up/both".versions.endpoints]]'
    places = [
        f'{table}\nbase_url = "{one.url}"\nweight = {weight}\n' for one, weight in zip(pair, weights, strict=True)
    ]
    return version("up/both", "").replace('base_url = ""\n', "") + "".join(places)


def test_turns_are_taken_by_weight():
    endpoints = Endpoints([("a", 3), ("b", 1)])
    picked = [endpoints.pick() for _ in range(40)]
    assert [picked.count(one) for one in endpoints.all] == [30, 10]


def test_whoever_failed_a_request_is_not_asked_again_while_there_is_another():
    endpoints = Endpoints([("a", 5), ("b", 1)])
    heavy, light = endpoints.all
    assert all(endpoints.pick([heavy]) is light for _ in range(20))
    assert endpoints.pick([heavy, light]) in endpoints.all


def test_many_failures_at_once_keep_a_server_away_no_longer_than_the_fifth():
    endpoints = Endpoints([("a", 1)])
    (only,) = endpoints.all
    for _ in range(FAILURES + 40):
        only.failed()
    with pytest.raises(EngineUnavailable) as refused:
        endpoints.pick()
    assert refused.value.retry_after_s == COOL_S
    assert only.left_s(time.monotonic() + COOL_S) == 0


def test_a_server_that_is_there_and_fails_is_kept_away_longer_each_time_it_is_seen():
    (only,) = Endpoints([("a", 1)]).all
    for _ in range(FAILURES):
        only.failed()
    for longer in (2, 4, 8):
        only.seen()
        assert not only.is_given_up
        only.failed()
        assert only.left_s(time.monotonic()) == pytest.approx(longer * COOL_S, abs=0.5)


@pytest.mark.parametrize("steps", [plain({}, 503), [CLOSE]], ids=["busy", "closes"])
def test_no_request_fails_while_one_of_two_servers_works(tmp_path, pair, steps):
    bad, good = pair
    bad.play(*steps)
    with serving(tmp_path, behind(pair, 5, 1)) as server:
        assert [server.chat("up/both").status_code for _ in range(12)] == [200] * 12
    assert len(good.asked) == 12
    assert len(bad.asked) >= FAILURES


@pytest.mark.parametrize(
    "steps",
    [
        [f"{mock.head()}\r\ncontent-length: 10\r\n\r\n".encode(), HOLD],
        [STREAM, HOLD],
        plain({"error": {"code": 400, "message": ""}}),
        plain({"error": {"code": 503, "message": ""}}),
    ],
    ids=["left-in-body", "left-in-stream", "refused-in-answer", "busy-in-answer"],
)
def test_a_trial_that_teaches_nothing_leaves_room_for_the_next(tmp_path, steps):
    upstream = MockUpstream()
    upstream.play(*plain({}, 500))
    with serving(tmp_path, version("up/one", upstream.url)) as server:
        for _ in range(FAILURES):
            assert server.chat("up/one").status_code == 502
        time.sleep(COOL_S + 0.1)
        turns = itertools.count()
        upstream.cue = lambda asked: steps if next(turns) == 0 else mock.usual(asked)
        body = {"model": "up/one", "messages": [{"role": "user", "content": "Hi"}], "stream": steps[0] is STREAM}
        asked = len(upstream.asked)
        with server.open_chat(body):
            until(lambda: len(upstream.asked) == asked + 1)
            time.sleep(0.1)
        until(lambda: server.chat("up/one").status_code == 200, 3)
    upstream.close()


def test_the_log_says_which_server_went_and_came_back_each_time(tmp_path, pair):
    one, two = pair
    well = plain({"data": [{"id": "there"}]})
    one.models = two.models = well
    config = behind(pair, 1, 1).replace("probe_s = 0.0", "probe_s = 0.1")
    place = two.url.removeprefix("http://").removesuffix("/v1")
    with serving(tmp_path, config) as server:

        def told():
            lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
            return [(line["event"], line["server"]) for line in lines if line["event"].startswith("upstream")]

        steps = [([CLOSE], "cannot be reached"), (well, "is well again")] * 2
        steps += [(plain({}, 500), "fails"), (plain({}, 401), "does not accept the key")]
        steps += [(plain({"data": [{"id": "other"}]}), "lists no such model")]
        for count, (two.models, _) in enumerate(steps, 1):
            until(lambda count=count: len(told()) >= count)
        time.sleep(0.5)
        assert told() == [(f"upstream {said}", place) for _, said in steps]


def test_servers_that_hang_hold_no_start_up(tmp_path):
    upstream = MockUpstream()
    upstream.models = [HOLD]
    config = "".join(version(f"up/{number}", upstream.url, probe_s=5.0) for number in range(3))
    config += version("up/unknown", upstream.url, probe_s=5.0).replace('kind = "openai"\n', "")
    with serving(tmp_path, config) as server:
        assert not any(looked.was_left for looked in upstream.looked), "it is ready when a look has come to nothing"
        assert server.chat("up/0").status_code == 200
    upstream.close()


def test_the_kind_of_a_server_is_learned_later_also_while_it_is_used(tmp_path):
    upstream = MockUpstream()
    upstream.models = plain({}, 500)
    with serving(tmp_path, version("up/one", upstream.url, probe_s=0.5).replace('kind = "openai"\n', "")) as server:
        assert server.chat("up/one", logit_bias={"5": 1}).status_code == 400
        upstream.models = plain({"data": [{"id": "there", "owned_by": "vllm"}]})

        def is_learned():
            assert server.chat("up/one").status_code == 200
            return server.chat("up/one", logit_bias={"5": 1}).status_code == 200

        until(is_learned)
    upstream.close()


@pytest.mark.parametrize(
    "owner", [b"[" * 100_000 + b"]" * 100_000, b"[", b'"\xff"', b"5"], ids=["deep", "cut", "bytes", "5"]
)
def test_a_list_of_models_that_is_none_ends_nothing(tmp_path, owner):
    upstream = MockUpstream()
    upstream.models = plain(b'{"data": [{"id": "there", "owned_by": %s}]}' % owner)
    with serving(tmp_path, version("up/one", upstream.url, probe_s=0.1)) as server:
        until(lambda: len(upstream.looked) > 1)
        assert server.chat("up/one").status_code == 200
    upstream.close()
