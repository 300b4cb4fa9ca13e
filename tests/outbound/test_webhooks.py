"""Notices on their way to real receivers: signed, in order, tried again, given up, and bounded."""

import time
from contextlib import asynccontextmanager
from itertools import pairwise
from uuid import UUID, uuid4

import anyio
import pytest
from structlog.testing import capture_logs
from wriftai import WebhookSignatureMismatchError, WebhookTimestampOutsideToleranceError, verify_webhook

from antiphon import __version__
from antiphon.domain.record import Webhook
from antiphon.outbound.webhooks import Plan, open_webhooks, signature

from .conftest import canary, receiving, until

pytestmark = pytest.mark.anyio

QUICK = (0.02, 0.02, 0.02, 0.02, 0.02)
FIRST, SECOND = UUID(int=1), UUID(int=2)
SECRET = "a secret: žluťoučký"


@asynccontextmanager
async def sending(*, allow_private=True, pauses_s=QUICK, **plan):
    """Webhooks for the body, and what they log."""
    with capture_logs() as log:
        async with open_webhooks(allow_private=allow_private, plan=Plan(pauses_s=pauses_s, **plan)) as webhooks:
            yield webhooks, log


def is_idle(webhooks):
    return lambda: repr(webhooks) == "<Webhooks 0 notices, 0 bytes, 0 lanes>"


async def test_a_notice_is_a_post_of_the_body_as_it_is():
    body = '{"id": "1", "text": "žluťoučký"}'.encode()
    async with receiving(204) as receiver, sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url), body)
        await until(is_idle(webhooks))
    (heard,) = receiver.heard
    assert heard.line == "POST /hook HTTP/1.1"
    assert heard.body == body
    assert heard.headers["content-type"] == "application/json"
    assert heard.headers["user-agent"] == f"antiphon/{__version__}"
    assert "wriftai-webhook-signature" not in heard.headers
    assert log == []


async def test_the_clients_own_verifier_believes_the_signature_and_no_other():
    async with receiving(204) as receiver, sending() as (webhooks, _):
        webhooks.send(FIRST, Webhook(receiver.url, SECRET), b'{"id":1}')
        await until(is_idle(webhooks))
    (heard,) = receiver.heard
    signed = heard.headers["wriftai-webhook-signature"]
    verify_webhook(heard.body, signed, SECRET)
    for body, secret in ((heard.body + b" ", SECRET), (heard.body, SECRET + " ")):
        with pytest.raises(WebhookSignatureMismatchError):
            verify_webhook(body, signed, secret)
    with pytest.raises(WebhookTimestampOutsideToleranceError):
        verify_webhook(heard.body, signature(SECRET, heard.body, int(time.time()) - 400), SECRET)


async def test_every_try_is_signed_anew():
    async with receiving(500, 204) as receiver, sending(pauses_s=(1.1,)) as (webhooks, _):
        webhooks.send(FIRST, Webhook(receiver.url, SECRET), b"{}")
        await until(is_idle(webhooks))
    first, second = (heard.headers["wriftai-webhook-signature"] for heard in receiver.heard)
    assert first != second
    verify_webhook(b"{}", second, SECRET)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
async def test_any_2xx_is_success(status):
    async with receiving(status) as receiver, sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks))
    assert receiver.dials == 1
    assert log == []


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 599])
async def test_a_receiver_that_is_in_trouble_is_tried_six_times_and_given_up_in_one_line(status):
    async with receiving(status) as receiver, sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url, SECRET), b"{}")
        await until(is_idle(webhooks))
    assert receiver.dials == 6
    assert log == [{"event": "webhook gave up", "log_level": "warning", "id": str(FIRST), "status": status}]


@pytest.mark.parametrize("status", [301, 302, 307, 308, 400, 401, 404, 410, 413, 422])
async def test_a_refusal_is_final(status):
    async with canary() as bird, receiving(status, head=f"location: http://127.0.0.2:{bird.port}/\r\n") as receiver:
        async with sending() as (webhooks, log):
            webhooks.send(FIRST, Webhook(receiver.url), b"{}")
            await until(is_idle(webhooks))
        assert receiver.dials == 1
        assert bird.dials == 0
        assert [line["status"] for line in log] == [status]


async def test_a_receiver_that_recovers_hears_of_it_once_more_and_then_no_more():
    async with receiving(503, 429, 200) as receiver, sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks))
    assert receiver.dials == 3
    assert log == []


async def test_a_receiver_that_is_not_there_is_given_up_without_naming_it():
    async with receiving(200) as receiver:
        url = receiver.url
    async with sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(url, SECRET), b"{}")
        await until(is_idle(webhooks))
    assert log == [{"event": "webhook gave up", "log_level": "warning", "id": str(FIRST), "status": "unreachable"}]


async def test_the_pauses_are_those_of_the_plan_and_up_to_a_quarter_longer():
    pauses_s = (0.1, 0.2, 0.4)
    async with receiving(500) as receiver, sending(pauses_s=pauses_s) as (webhooks, _):
        webhooks.send(FIRST, Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks))
    waited = [after.at - before.at for before, after in pairwise(receiver.heard)]
    assert len(waited) == 3
    for pause_s, waited_s in zip(pauses_s, waited, strict=True):
        assert pause_s <= waited_s <= pause_s * 1.25 + 1


async def test_what_failed_together_is_not_tried_again_together():
    async with receiving(500) as receiver, sending(pauses_s=(0.4,), under_way_per_receiver=16) as (webhooks, _):
        for _ in range(16):
            webhooks.send(uuid4(), Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks))
    again = [heard.at for heard in receiver.heard[16:]]
    assert len(again) == 16
    assert max(again) - min(again) > 0.03


def test_the_plan_is_six_tries_over_five_minutes():
    assert Plan().pauses_s == (1, 4, 15, 60, 240)


async def test_notices_of_one_prediction_arrive_in_order_while_the_first_is_tried_again():
    async with receiving(500, 500, 500, 204) as receiver, sending() as (webhooks, log):
        for body in (b"pending", b"started", b"succeeded"):
            webhooks.send(FIRST, Webhook(receiver.url), body)
        await until(is_idle(webhooks))
    assert receiver.bodies == [b"pending"] * 4 + [b"started", b"succeeded"]
    assert receiver.most_at_once == 1
    assert log == []


async def test_a_later_notice_goes_out_when_an_earlier_one_is_given_up():
    async with receiving(500, 500, 204) as receiver, sending(pauses_s=(0.01,)) as (webhooks, log):
        for body in (b"pending", b"succeeded"):
            webhooks.send(FIRST, Webhook(receiver.url), body)
        await until(is_idle(webhooks))
    assert receiver.bodies == [b"pending", b"pending", b"succeeded"]
    assert len(log) == 1


async def test_a_prediction_whose_notice_waits_for_another_try_does_not_hold_up_another():
    async with receiving(500) as failing, receiving(204) as fine, sending(pauses_s=(60,)) as (webhooks, _):
        webhooks.send(FIRST, Webhook(failing.url), b"{}")
        await until(lambda: failing.heard)
        webhooks.send(SECOND, Webhook(fine.url), b"{}")
        await until(lambda: fine.heard)


async def test_a_receiver_that_hangs_does_not_hold_up_others_however_much_it_is_sent():
    async with receiving(204, answer_s=60) as hanging, receiving(204) as fine, sending(grace_s=0) as (webhooks, log):
        for _ in range(100):
            webhooks.send(uuid4(), Webhook(hanging.url), b"{}")
        await until(lambda: hanging.at_once == 4)
        for _ in range(20):
            webhooks.send(uuid4(), Webhook(fine.url), b"{}")
        await until(lambda: len(fine.heard) == 20)
        assert hanging.most_at_once == 4
        await until(lambda: webhooks.waiting == 100)
    assert [line["notices"] for line in log if line["event"] == "webhooks not delivered"] == [100]


async def test_no_more_than_the_plan_says_is_under_way():
    async with receiving(204, answer_s=0.02) as one, receiving(204, answer_s=0.02) as other:
        async with sending(under_way=3, under_way_per_receiver=2) as (webhooks, _):
            for _ in range(10):
                webhooks.send(uuid4(), Webhook(one.url), b"{}")
                webhooks.send(uuid4(), Webhook(other.url), b"{}")
            most = 0
            while webhooks.waiting:
                most = max(most, one.at_once + other.at_once)
                await anyio.sleep(0.001)
        assert most <= 3
        assert max(one.most_at_once, other.most_at_once) <= 2
        assert len(one.heard) == len(other.heard) == 10


async def test_what_is_too_much_is_dropped_with_one_line_and_nothing_blocks():
    async with receiving(204, answer_s=0.1) as receiver, sending(waiting=5) as (webhooks, log):
        for number in range(7):
            webhooks.send(UUID(int=number), Webhook(receiver.url, SECRET), b"{}")
        assert log == [
            {"event": "webhook dropped", "log_level": "warning", "id": str(UUID(int=number))} for number in (5, 6)
        ]
        await until(is_idle(webhooks))
        webhooks.send(FIRST, Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks))
    assert len(receiver.heard) == 6


async def test_bodies_take_no_more_memory_than_the_plan_says():
    async with receiving(204) as receiver, sending(waiting_bytes=100) as (webhooks, log):
        for body in (b"x" * 60, b"y" * 60, b"z" * 40):
            webhooks.send(FIRST, Webhook(receiver.url), body)
        await until(is_idle(webhooks))
        webhooks.send(FIRST, Webhook(receiver.url), b"w" * 100)
        await until(is_idle(webhooks))
    assert [body[:1] for body in receiver.bodies] == [b"x", b"z", b"w"]
    assert [line["event"] for line in log] == ["webhook dropped"]


async def test_a_thousand_predictions_are_delivered_and_forgotten():
    async with receiving(204) as receiver, sending(under_way_per_receiver=16) as (webhooks, log):
        for number in range(1_000):
            webhooks.send(UUID(int=number), Webhook(receiver.url), b"{}")
        await until(is_idle(webhooks), 60)
        assert repr(webhooks._slots) == "<Slots 0 held, 0 receivers>"
    assert len(receiver.heard) == 1_000
    assert log == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://127.0.0.1:{}/", "http://127.0.0.2:{}/", "http://localhost:{}/", "http://[::1]:{}/", "http://0:{}/"),
        *("http://[::ffff:127.0.0.1]:{}/", "http://2130706433:{}/", "http://127.1:{}/", "http://u@127.0.0.1:{}/"),
        *(r"http://ok.test\@127.0.0.1:{}/", "http://127.0.0.1\t:{}/", "file:///dev/null?{}", "http://１２７.0.0.1:{}/"),
    ],
)
async def test_a_url_that_got_past_the_api_still_reaches_nothing_private(url):
    async with canary() as bird, sending(allow_private=False) as (webhooks, log):
        webhooks.send(FIRST, Webhook(url.format(bird.port), SECRET), b"{}")
        await until(is_idle(webhooks))
        assert bird.dials == 0
        assert log == [{"event": "webhook gave up", "log_level": "warning", "id": str(FIRST), "status": "unreachable"}]


async def answered(receiver):
    """Wait until somebody was answered, and has most likely read it."""
    await until(lambda: receiver.heard and not receiver.at_once)
    await anyio.sleep(0.3)


async def test_at_the_end_what_waits_goes_out_within_the_grace():
    async with receiving(500, 204) as receiver:
        async with sending(pauses_s=(60,), grace_s=10) as (webhooks, log):
            webhooks.send(FIRST, Webhook(receiver.url), b"1")
            webhooks.send(FIRST, Webhook(receiver.url), b"2")
            await answered(receiver)
            ended = time.monotonic()
        assert time.monotonic() - ended < 10
        assert receiver.bodies == [b"1", b"1", b"2"]
        assert log == []


async def test_at_the_end_what_fails_is_not_tried_for_ever():
    async with receiving(500) as receiver, sending(pauses_s=(60,) * 50) as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url), b"1")
        await answered(receiver)
    assert receiver.dials == 2
    assert [line["event"] for line in log] == ["webhook gave up"]


async def test_what_does_not_go_out_within_the_grace_is_cancelled_and_counted():
    async with receiving(204, answer_s=60) as receiver:
        async with sending(grace_s=0.2) as (webhooks, log):
            webhooks.send(FIRST, Webhook(receiver.url), b"1")
            webhooks.send(FIRST, Webhook(receiver.url), b"2")
            await until(lambda: receiver.heard)
            ended = time.monotonic()
        assert 0.1 < time.monotonic() - ended < 2
        assert log == [{"event": "webhooks not delivered", "log_level": "warning", "notices": 2}]
        webhooks.send(FIRST, Webhook(receiver.url), b"3")
        assert receiver.dials == 1


async def test_an_error_of_the_body_comes_out_as_it_is():
    with pytest.raises(KeyError, match="mine"):
        async with sending():
            raise KeyError("mine")


async def test_cancelling_the_body_ends_the_sending_at_once():
    async with receiving(204, answer_s=60) as receiver:
        began = time.monotonic()
        with anyio.move_on_after(0.2):
            async with sending() as (webhooks, _):
                webhooks.send(FIRST, Webhook(receiver.url), b"1")
                await anyio.sleep_forever()
        assert time.monotonic() - began < 3


async def test_a_notice_that_breaks_does_not_end_those_of_others():
    """A lone surrogate cannot be a key."""
    async with receiving(204) as receiver, sending() as (webhooks, log):
        webhooks.send(FIRST, Webhook(receiver.url, "\ud800"), b"1")
        webhooks.send(FIRST, Webhook(receiver.url), b"2")
        webhooks.send(SECOND, Webhook(receiver.url), b"3")
        await until(is_idle(webhooks))
    assert sorted(receiver.bodies) == [b"2", b"3"]
    assert log == [
        {"event": "webhook broke", "log_level": "error", "id": str(FIRST), "kind": "UnicodeEncodeError"},
    ]
