"""OVER: more than the server can do, from clients that are many, fast, slow or idle. Who was let in is not harmed."""

import asyncio
import base64
import json
import resource
import socket
import statistics
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from antiphon.api.idle import MOST
from tests.conftest import serving, until

REFUSED_S = 0.05
"""How long a refusal may take."""
CONFIG = """
[models."test/narrow"]
slots = 1
queue = 4
[[models."test/narrow".versions]]
number = 1
engine = "scripted"
script = { accept_s = 60.0 }
[models."test/sees"]
slots = 1
queue = 0
[[models."test/sees".versions]]
number = 1
engine = "scripted"
script = { accept_s = 60.0, senses = ["image_url"] }
[models."test/hello"]
slots = 4
[[models."test/hello".versions]]
number = 1
engine = "scripted"
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(tmp_path_factory.mktemp("full"), CONFIG) as running:
        yield running


def fill(server, model, count):
    """Ask so often that nothing more has room; give the sockets, which hold it until they are closed."""
    links = [server.open_chat({"model": model, "messages": [{"role": "user", "content": "Hi"}]}) for _ in range(count)]
    path = f'antiphon_slots_held{{gen_ai_request_model="{model}"}} 1.0'
    until(lambda: path in server.get("/metrics").text)
    return links


def timed(server, body, count):
    """Ask one after another on one connection; give what was answered, and how long each took."""
    request = server.request_bytes(body)
    answers, took = [], []
    with socket.create_connection(("127.0.0.1", server.port)) as link:
        link.settimeout(30)
        reader = link.makefile("rb")
        for _ in range(count):
            begun = time.monotonic()
            link.sendall(request)
            answers.append(read_answer(reader))
            took.append(time.monotonic() - begun)
    return answers, took


def read_answer(reader):
    """One answer: its status, its headers and its JSON."""
    status = int(reader.readline().split()[1])
    headers = {}
    while line := reader.readline().strip():
        name, _, value = line.decode().partition(": ")
        headers[name.lower()] = value
    return status, headers, json.loads(reader.read(int(headers["content-length"])))


def assert_full(answers):
    for status, headers, body in answers:
        assert (status, body["error"]["code"]) == (503, "queue_full")
        assert int(headers["retry-after"]) >= 1
        assert abs(int(headers["x-ratelimit-reset"]) - time.time()) < 30


def p99(times):
    return statistics.quantiles(times, n=100)[98]


def test_of_twenty_at_once_five_are_accepted_and_fifteen_are_refused_at_once(server):
    """OVER-01."""
    body = {"model": "test/narrow", "messages": [{"role": "user", "content": "Hi"}]}
    with ThreadPoolExecutor(20) as pool:
        links = [server.open_chat(body) for _ in range(20)]
        refused = [link for link in pool.map(heard, links) if link]
        assert len(refused) == 15
        assert_full(answer for answer in refused)
    _, took = min((timed(server, body, 200) for _ in range(3)), key=lambda found: p99(found[1]))
    assert p99(took) <= REFUSED_S
    for link in links:
        link.close()


def heard(link):
    """The answer that comes within two seconds, if one does."""
    link.settimeout(2)
    try:
        return read_answer(link.makefile("rb"))
    except TimeoutError:
        return None


def image(data):
    url = "data:image/png;base64," + base64.b64encode(data).decode()
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": url}}]
    return {"model": "test/sees", "messages": [{"role": "user", "content": parts}]}


def test_a_hundred_images_for_a_full_server_are_refused_before_they_are_decoded(server):
    """OVER-03. What is no image is refused as such when it is looked at."""
    body = image(b"no image at all" * 10_000)
    (answer,), _ = timed(server, body, 1)
    assert answer[0] in {400, 422}
    links = fill(server, "test/sees", 1)
    answers, took = min((timed(server, body, 100) for _ in range(3)), key=lambda found: max(found[1]))
    assert_full(answers)
    assert max(took) <= REFUSED_S
    for link in links:
        link.close()


IDLE = 5_000


@pytest.mark.long
def test_five_thousand_idle_connections_give_way_to_those_that_ask(tmp_path):
    """OVER-06: the oldest are closed, the youngest are not, and who streams is never among them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1_024, hard))  # What a service is given where nobody says otherwise.
    try:
        with serving(tmp_path, CONFIG) as server:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            asyncio.run(be_idle(server))
            assert server.chat("test/hello").status_code == 200
            assert "Traceback" not in server.log.read_text()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def be_idle(server):
    body = {"model": "test/narrow", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    busy, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(server.request_bytes(body))
    await asyncio.sleep(0.2)
    links = []
    for _ in range(IDLE):
        links.append(await asyncio.open_connection("127.0.0.1", server.port))
        await look(*links[-1])
    begun = time.monotonic()
    assert (await asyncio.to_thread(server.chat, "test/hello")).status_code == 200
    assert time.monotonic() - begun < 2
    assert [await reader.read(1) for reader, _ in links[: IDLE - MOST - 10]] == [b""] * (IDLE - MOST - 10)
    for link in links[10 - MOST :]:
        await look(*link)
    assert not busy.at_eof()
    for _, each in (*links, (busy, writer)):
        each.transport.abort()


async def look(reader, writer):
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    await reader.read(1024)
