"""OVER-02: what a key may ask holds over all processes, whichever of them is asked."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.api.test_limits import CONFIG, ask, assert_limited, is_running, key
from tests.conftest import serving, until


@pytest.fixture(scope="module", params=["home", "redis"])
def limits_url(request):
    """Where limits are counted: by the processes of a home, and in a Redis."""
    return request.getfixturevalue("valkey").url if request.param == "redis" else ""


@pytest.fixture(scope="module")
def both(tmp_path_factory, limits_url):
    """Two server processes over one store."""
    home = tmp_path_factory.mktemp("both")
    with (
        serving(home, CONFIG, log=home / "first.log", ANTIPHON_LIMITS_URL=limits_url) as first,
        serving(home, CONFIG, log=home / "second.log", ANTIPHON_LIMITS_URL=limits_url) as second,
    ):
        yield first, second


def test_predictions_in_all_processes_count_together(both):
    first, second = both
    secret = key(first, "concurrent=2")
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(ask, server, secret, "test/slow") for server in both]
        until(lambda: len(is_running(first, secret)) == 2, 10)
        assert_limited(ask(first, secret), limit=2)
        assert_limited(ask(second, secret), limit=2)
        assert [one.result().status_code for one in running] == [200, 200]
    assert [ask(server, secret).status_code for server in both] == [200, 200]


def test_who_hears_the_end_of_an_answer_finds_its_room_free_in_every_process(both):
    secret = key(both[0], "concurrent=1")
    for server, stream in itertools.product(both * 10, (False, True)):
        assert ask(server, secret, stream=stream).status_code == 200


def test_requests_to_all_processes_use_up_one_second_s_requests(both):
    secret = key(both[0], "requests_per_s=10")
    for server in both:
        server.chat("test/hello")
    begun = time.time()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda server: ask(server, secret), both * 15))
    took = time.time() - begun
    accepted = sum(answer.status_code == 200 for answer in answers)
    assert {answer.status_code for answer in answers} <= {200, 429}
    assert 10 <= accepted <= 10 + 10 * took, (accepted, took)


def test_what_a_killed_process_ran_is_not_held_against_its_key(tmp_path, limits_url):
    extra = {"ANTIPHON_LIMITS_URL": limits_url}
    with serving(tmp_path, CONFIG, log=tmp_path / "kept.log", **extra) as kept, ThreadPoolExecutor(1) as pool:
        secret = key(kept, "concurrent=1")
        with serving(tmp_path, CONFIG, log=tmp_path / "killed.log", **extra) as killed:
            lost = pool.submit(ask, killed, secret, "test/slow")
            until(lambda: is_running(kept, secret), 10)
            assert_limited(ask(kept, secret), limit=1)
            killed.process.kill()
            assert lost.exception(10)
            until(lambda: ask(kept, secret).status_code == 200, 20)
