"""What is dialled: on real sockets, with a canary that hears of every connection to this machine."""

import shutil
import ssl
import subprocess
import time
from ipaddress import ip_address

import anyio
import pytest
from anyio.streams.tls import TLSStream
from yarl import URL

from antiphon.outbound.addresses import is_public
from antiphon.outbound.session import Unreachable, open_judged_session, open_session

from .conftest import canary, receiving

pytestmark = pytest.mark.anyio

# Given to the session as they are: the wall behind the rules for URLs must hold alone.
WAYS_HOME = """
127.0.0.1 127.0.0.2 localhost LOCALHOST localhost. a.localhost 0.0.0.0 0 127.1 0x7f.1 0x7f000001 2130706433 0177.0.0.1
127.0.0.1. [::] [::1] [::ffff:127.0.0.1] [::ffff:7f00:2] [::127.0.0.1] [64:ff9b::7f00:1] [2002:7f00:1::] [fe80::1%lo]
[fec0::1] ok.test%5c@127.0.0.1 user@127.0.0.1
"""


def stub(*answers):
    """A resolver that gives one answer after the other, and tells how often it was asked."""
    asked = []

    async def look_up(host):
        asked.append(host)
        addresses = answers[min(len(asked), len(answers)) - 1]
        if addresses is None:
            raise OSError("no such name")
        return [ip_address(address) for address in addresses]

    return look_up, asked


def only(allowed):
    return lambda address: str(address) == allowed


@pytest.mark.parametrize("host", WAYS_HOME.split())
async def test_no_way_of_writing_this_machine_reaches_it(host):
    async with canary() as bird, open_session(allow_private=False) as session:
        with pytest.raises(Unreachable, match=r"^The receiver cannot be reached\.$"):
            await session.post(URL(f"http://{host}:{bird.port}/"), b"{}", {})
        assert bird.dials == 0


async def test_the_canary_sings_when_private_addresses_are_allowed():
    async with canary() as bird, open_session(allow_private=True) as session:
        for host in ("127.0.0.2", "localhost", "[::1]"):
            assert await session.post(URL(f"http://{host}:{bird.port}/"), b"{}", {}) == 200
        assert bird.dials == 3


async def test_a_name_is_resolved_once_and_dialled_where_it_was_judged():
    """SSRF-07: the second answer would be the canary's."""
    look_up, asked = stub(["127.0.0.1"], ["127.0.0.2"])
    async with canary() as bird, receiving(204) as receiver:
        async with open_judged_session(only("127.0.0.1"), look_up=look_up) as session:
            assert await session.post(URL(f"http://ok.test:{receiver.port}/"), b"{}", {}) == 204
            assert asked == ["ok.test"]
            assert receiver.heard[0].headers["host"] == f"ok.test:{receiver.port}"
            with pytest.raises(Unreachable):
                await session.post(URL(f"http://ok.test:{bird.port}/"), b"{}", {})
        assert asked == ["ok.test", "ok.test"]
        assert bird.dials == 0


@pytest.mark.parametrize(
    "answer",
    [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"], ["::ffff:127.0.0.2"], ["::1"]],
)
async def test_a_name_with_one_address_that_is_not_allowed_is_refused_whole(answer):
    look_up, _ = stub(answer)
    async with canary() as bird, open_judged_session(only("127.0.0.1"), look_up=look_up) as session:
        with pytest.raises(Unreachable):
            await session.post(URL(f"http://ok.test:{bird.port}/"), b"{}", {})
        assert bird.dials == 0


@pytest.mark.parametrize("answer", [["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["2606:4700::1", "fd00::1"]])
async def test_a_public_name_of_a_private_address_is_refused(answer):
    look_up, _ = stub(answer)
    async with canary() as bird, open_judged_session(is_public, look_up=look_up) as session:
        with pytest.raises(Unreachable):
            await session.post(URL(f"http://ok.test:{bird.port}/"), b"{}", {})
        assert bird.dials == 0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_an_answer_and_is_not_followed(status):
    async with canary() as bird, receiving(status, head=f"location: http://127.0.0.2:{bird.port}/\r\n") as receiver:
        async with open_session(allow_private=True) as session:
            assert await session.post(URL(receiver.url), b"{}", {"authorization": "x"}) == status
        assert bird.dials == 0


async def test_proxies_of_the_environment_are_not_used(monkeypatch, tmp_path):
    async with canary() as bird, receiving(204) as receiver:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.2:{bird.port}")
        monkeypatch.delenv("no_proxy", raising=False)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
        monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
        async with open_session(allow_private=True) as session:
            assert await session.post(URL(receiver.url), b"{}", {}) == 204
        assert bird.dials == 0
        assert "authorization" not in receiver.heard[0].headers


async def test_cookies_are_not_kept():
    async with (
        receiving(204, head="set-cookie: a=b; Path=/\r\n") as receiver,
        open_session(allow_private=True) as session,
    ):
        for _ in range(2):
            await session.post(URL(f"http://localhost:{receiver.port}/"), b"{}", {})
        assert [heard.headers.get("cookie") for heard in receiver.heard] == [None, None]


async def test_what_cannot_be_reached_sounds_the_same_whatever_is_there():
    """SSRF-11: a closed port, an open one, no such name, and a name of a private address."""
    texts, times = set(), []
    look_up, _ = stub(None)
    private, _ = stub(["127.0.0.1"])
    async with canary() as bird, receiving(200, head="content-length: 1\r\ncontent-length: 2\r\n") as odd:
        closed = await anyio.create_tcp_listener(local_host="127.0.0.1")
        port = closed.extra(anyio.abc.SocketAttribute.local_port)
        await closed.aclose()
        for is_allowed, lookup, url in (
            (lambda _: True, None, f"http://127.0.0.1:{port}/"),
            (lambda _: True, None, odd.url),
            (lambda _: True, look_up, "http://none.test/"),
            (only("127.0.0.9"), private, f"http://ok.test:{bird.port}/"),
            (only("127.0.0.9"), None, f"http://127.0.0.1:{bird.port}/"),
        ):
            async with open_judged_session(is_allowed, look_up=lookup) as session:
                began = time.monotonic()
                with pytest.raises(Unreachable) as caught:
                    await session.post(URL(url), b"{}", {})
                times.append(time.monotonic() - began)
            texts.add(repr(caught.value))
            assert caught.value.__cause__ is None
        assert bird.dials == 0
    assert len(texts) == 1
    assert max(times) < 2


async def test_a_receiver_that_does_not_answer_is_given_up_in_time():
    async with (
        receiving(200, answer_s=5) as receiver,
        open_judged_session(lambda _: True, timeout_s=0.1) as session,
    ):
        began = time.monotonic()
        with pytest.raises(Unreachable):
            await session.post(URL(receiver.url), b"{}", {})
        assert time.monotonic() - began < 3


async def test_a_name_that_takes_long_is_given_up_in_time():
    async def look_up(_):
        await anyio.sleep(5)
        return []

    async with open_judged_session(lambda _: True, look_up=look_up, timeout_s=0.1) as session:
        with anyio.fail_after(3), pytest.raises(Unreachable):
            await session.post(URL("http://ok.test/"), b"{}", {})


async def test_a_name_without_addresses_cannot_be_reached():
    look_up, _ = stub([])
    async with open_judged_session(lambda _: True, look_up=look_up) as session:
        with pytest.raises(Unreachable):
            await session.post(URL("http://ok.test/"), b"{}", {})


@pytest.mark.parametrize(
    "head", ["content-length: 10\r\n", "content-length: 99999999999\r\ncontent-encoding: gzip\r\n"]
)
async def test_a_body_that_does_not_end_is_not_waited_for(head):
    """Nor unpacked: what follows the head is noise."""
    async with (
        receiving(200, head=head, body=b"x" * 9, lingers_s=5) as receiver,
        open_session(allow_private=True) as session,
    ):
        with anyio.fail_after(2):
            assert await session.post(URL(receiver.url), b"{}", {}) == 200


async def test_only_a_small_part_of_an_endless_answer_is_taken():
    sent = 0

    async def flood(stream):
        nonlocal sent
        async with stream:
            await stream.receive()
            await stream.send(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n")
            try:
                while True:
                    await stream.send(b"x" * 65_536)
                    sent += 65_536
            except anyio.BrokenResourceError:
                pass

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, flood)
        async with open_session(allow_private=True) as session:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            with anyio.fail_after(1):
                assert await session.post(URL(f"http://127.0.0.1:{port}/"), b"{}", {}) == 200
        await anyio.sleep(0.05)
        group.cancel_scope.cancel()
    assert sent < 16 * 1024 * 1024


async def test_an_answer_before_the_body_was_read_is_an_answer():
    async with receiving(413, reads=False, lingers_s=5) as receiver, open_session(allow_private=True) as session:
        with anyio.fail_after(3):
            assert await session.post(URL(receiver.url), bytes(32 * 1024 * 1024), {}) == 413


async def test_a_large_body_arrives_whole():
    body = bytes(range(256)) * 16_384
    async with receiving(204) as receiver, open_session(allow_private=True) as session:
        assert await session.post(URL(receiver.url), body, {}) == 204
        assert receiver.heard[0].body == body
        assert receiver.heard[0].headers["content-length"] == str(len(body))


async def test_leaving_while_a_request_is_under_way_closes_it():
    async with receiving(200, answer_s=60) as receiver:
        with anyio.move_on_after(0.2):
            async with open_session(allow_private=True) as session:
                await session.post(URL(receiver.url), b"{}", {})
        assert receiver.dials == 1


async def test_tls_asks_for_the_name_and_not_for_the_address():
    """SSRF-07: a pinned dial keeps its SNI."""
    hello = b""

    async def listen(stream):
        nonlocal hello
        async with stream:
            hello = await stream.receive()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    look_up, _ = stub(["127.0.0.1"])
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, listen)
        async with open_judged_session(only("127.0.0.1"), look_up=look_up) as session:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            with pytest.raises(Unreachable):
                await session.post(URL(f"https://ok.test:{port}/"), b"{}", {})
        group.cancel_scope.cancel()
    assert b"ok.test" in hello


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes its certificate; CI has it")
async def test_a_certificate_that_nobody_vouches_for_is_not_believed(tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*made.split(), *names], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    heard, ended = [], anyio.Event()

    async def listen(stream):
        try:
            async with await TLSStream.wrap(stream, server_side=True, ssl_context=context) as secure:
                heard.append(await secure.receive())
        except (ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
            await anyio.aclose_forcefully(stream)
            ended.set()

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, listen)
        async with open_session(allow_private=True) as session:
            port = listener.extra(anyio.abc.SocketAttribute.local_port)
            with pytest.raises(Unreachable):
                await session.post(URL(f"https://localhost:{port}/"), b"{}", {})
        with anyio.move_on_after(1):
            await ended.wait()
        group.cancel_scope.cancel()
    assert heard == []
