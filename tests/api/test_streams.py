"""A thousand streams at once through one process: none lost, none held up, none left behind."""

import asyncio
import itertools
import json
import re
import resource
import subprocess
import sys
import time

import psutil
import pytest

from tests.conftest import KEY, serving, until

STREAMS, EVENTS = 1_000, 64
PAUSE_MS = 100
STALL_S = 1.0
"""What the wait between two events may be beyond the upstream's own pause."""
STREAM_KIB = 150

pytestmark = [pytest.mark.long, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    """A server before a mock that pauses between events."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    command = [sys.executable, "-m", "bench.mock", "--pause-ms", str(PAUSE_MS)]
    mock = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        port = int(re.search(rb"port (\d+)", mock.stdout.readline())[1])
        config = f"""
[models."test/mock"]
slots = {STREAMS}
queue = 5000
[[models."test/mock".versions]]
number = 1
engine = "upstream"
base_url = "http://127.0.0.1:{port}/v1"
model = "mock"
kind = "openai"
"""
        with serving(tmp_path_factory.mktemp("front"), config) as server:
            yield server
    finally:
        mock.kill()
        mock.wait()
        mock.stdout.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def request(server):
    body = {"model": "test/mock", "messages": [{"role": "user", "content": "Hi"}], "stream": True}
    return server.request_bytes(body).replace(b"Bearer " + KEY.encode(), b"Bearer " + server.key.encode())


async def open_streams(server, count):
    """Open streams, a few at a time; give their readers and writers."""
    links = []
    for _ in range(0, count, 50):
        links += await asyncio.gather(*[asyncio.open_connection("127.0.0.1", server.port) for _ in range(50)])
    for _, writer in links:
        writer.write(request(server))
    return links


async def read(reader, arrivals):
    """Read a stream to its end; note when pieces come; give its text."""
    parts = []
    while part := await reader.read(65536):
        arrivals.append(time.monotonic())
        parts.append(part)
        if b"[DONE]" in part or b"[DONE]" in b"".join(parts[-2:]):
            break
    return b"".join(parts)


def said(raw):
    frames = re.findall(rb"data: (\{.*?\})\n\n", raw)
    choices = [choice for frame in frames for choice in json.loads(frame)["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def memory(server):
    return psutil.Process(server.process.pid).memory_info().rss


def test_a_thousand_streams_lose_nothing_and_stall_nowhere(front):
    front.chat("test/mock")
    before = memory(front)
    peak = 0

    async def run():
        nonlocal peak
        links = await open_streams(front, STREAMS)
        arrivals = [[] for _ in links]
        reading = [asyncio.create_task(read(reader, at)) for (reader, _), at in zip(links, arrivals, strict=True)]
        while not all(task.done() for task in reading):
            peak = max(peak, memory(front))
            await asyncio.sleep(0.5)
        raws = [task.result() for task in reading]
        for _, writer in links:
            writer.close()
        return raws, arrivals

    raws, arrivals = asyncio.run(run())
    whole = "".join(f" word{number}" for number in range(EVENTS))
    assert all(raw.count(b"[DONE]") == 1 for raw in raws)
    assert sum(said(raw) == whole for raw in raws) == STREAMS
    waits = [later - sooner for at in arrivals for sooner, later in itertools.pairwise(at)]
    assert max(waits) < STALL_S + PAUSE_MS / 1000, max(waits)
    assert (peak - before) / STREAMS < STREAM_KIB * 1024, f"{(peak - before) / STREAMS / 1024:.0f} KiB a stream"


def test_a_thousand_clients_that_leave_at_once_leave_nothing_behind(front):
    files = len(psutil.Process(front.process.pid).net_connections())

    async def run():
        links = await open_streams(front, STREAMS)
        await asyncio.gather(*[reader.readuntil(b"word1") for reader, _ in links])
        begun = time.monotonic()
        for _, writer in links:
            writer.transport.abort()
        return begun

    begun = asyncio.run(run())

    def ended():
        text = front.get("/metrics").text
        found = re.findall(r'antiphon_predictions_total\{[^}]*status="cancelled"[^}]*\} (\S+)', text)
        return sum(map(float, found))

    until(lambda: ended() == STREAMS, 5 - (time.monotonic() - begun))
    until(lambda: len(psutil.Process(front.process.pid).net_connections()) <= files + 5, 10)
    assert 'antiphon_slots_held{gen_ai_request_model="test/mock"} 0.0' in front.get("/metrics").text
    assert front.chat("test/mock").status_code == 200
