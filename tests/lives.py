"""What the tests of a prediction's life share: crowds of clients, and what a record of an ended prediction must say."""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from tests.conftest import ENDED, SCRIPTED, environment

MESSAGES = [{"role": "user", "content": "x"}]
TOKENS = ("Hello", ",", " world", "!")
"""What scripted engines say unless told otherwise; one after the other, again and again."""
CODES = {
    "client_gone": "prediction_cancelled",
    "requested": "prediction_cancelled",
    "deadline": "deadline_exceeded",
    "shutdown": "draining",
}
LIVES = (
    # Many at once: a full queue would be 503.
    SCRIPTED.replace('[models."test/slow"]\n', '[models."test/slow"]\nqueue = 10_000\n')
    + """
[models."hermit/only"]
visibility = "private"
account = "hermit"
[[models."hermit/only".versions]]
number = 1
engine = "scripted"
[models."test/brief"]
slots = 128
queue = 10_000
[[models."test/brief".versions]]
number = 1
engine = "scripted"
script = { token_s = 0.04 }
"""
    + "".join(
        f"""
[models."test/hold{number}"]
slots = 128
queue = 0
[[models."test/hold{number}".versions]]
number = 1
engine = "scripted"
script = {{ repeat = 1000, token_s = 0.3 }}
"""
        for number in range(8)
    )
)


def kept_in(url, config=LIVES):
    """The configuration with its store at `url`."""
    return f'[store]\nurl = "{url}"\n{config}'


def create(server, model, **fields):
    """A prediction that nobody holds a connection for; give its id."""
    body = json.dumps({"model": model, "input": {"messages": MESSAGES} | fields})
    made = server.post(body, path="/v1/predictions")
    assert made.status_code == 201, made.text
    return made.json()["id"]


def status_of(server, prediction_id):
    return server.get(f"/v1/predictions/{prediction_id}").json()["status"]


def key_of(server, account):
    """A new key for an account, made on the command line."""
    command = [sys.executable, "-m", "antiphon.cli", "keys", "create", "--account", account]
    where = environment(server.home, ANTIPHON_CONFIG=str(server.home / "antiphon.toml"))
    return subprocess.run(command, env=where, capture_output=True, text=True, check=True).stdout.splitlines()[-1]


# -- records


def said(record):
    """What an answer said, as far as it came."""
    return record["output"]["choices"][0]["message"]["content"] if record["output"] else ""


def seconds(duration):
    return float(re.fullmatch(r"PT([0-9]+\.[0-9]{6})S", duration)[1])


def assert_told(record, status, reason=None, code=None):
    """An ended prediction's record says how it ended and holds together: error, usage, text and timings.

    Its text and usage are compared with what scripted engines say.
    """
    usage, failure = record["metrics"]["usage"], record["error"]
    assert record["status"] == status, record
    if status == "succeeded":
        assert failure is None
    else:
        assert failure["detail"] == {"code": code or CODES[reason], "reason": reason}
        assert failure["message"]
    tokens = usage["completion_tokens"]
    assert said(record) == "".join(itertools.islice(itertools.cycle(TOKENS), tokens))
    assert usage["total_tokens"] == usage["prompt_tokens"] + tokens
    spans = [record["metrics"]["queue_time"], record["setup_time"], record["execution_time"]]
    known = [seconds(span) for span in spans if span is not None]
    assert all(span is None for span in spans[len(known) :]), spans
    assert min(known, default=0) >= 0
    # Accepted is when it began to execute, and when its prompt was counted.
    assert (spans[2] is not None) == (usage["prompt_tokens"] > 0), record
    if record["output"]:
        assert record["output"]["usage"]["completion_tokens"] == tokens
        assert record["output"]["id"] == "chatcmpl-" + record["id"].replace("-", "")


# -- crowds


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        return json.loads(self.body)


class Line:
    """One connection to a server; much lighter than a client library, so that a thousand tell of the server."""

    def __init__(self, server, stream):
        self._server, self._stream = server, stream
        self._received = BufferedByteReceiveStream(stream)

    @classmethod
    async def to(cls, server):
        return cls(server, await anyio.connect_tcp("127.0.0.1", server.port))

    async def send(self, method, path, body=None, **headers):
        raw = b"" if body is None else json.dumps(body).encode()
        head = {
            "Host": "localhost",
            "Authorization": f"Bearer {self._server.key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
        } | {name.replace("_", "-"): value for name, value in headers.items()}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items()), "", ""]
        await self._stream.send("\r\n".join(lines).encode() + raw)

    async def head(self):
        lines = (await self._received.receive_until(b"\r\n\r\n", 65_536)).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:])
        return int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}

    async def ask(self, method, path, body=None, **headers):
        """Send a request, give its whole answer."""
        await self.send(method, path, body, **headers)
        status, told = await self.head()
        if "content-length" in told:
            data = await self._received.receive_exactly(int(told["content-length"]))
        else:
            data = await self.until(b"0\r\n\r\n")
        return Answer(status, told, data)

    async def until(self, marker):
        """Read a stream as far as a text."""
        return await self._received.receive_until(marker, 10_000_000) + marker

    async def close(self):
        await self._stream.aclose()

    def linger(self, option):
        self._stream.extra(anyio.abc.SocketAttribute.raw_socket).setsockopt(*option)


@asynccontextmanager
async def line(server):
    one = await Line.to(server)
    try:
        yield one
    finally:
        await one.close()


async def crowd(count: int, at_once: int, task: Callable[[int], Awaitable]) -> list:
    """Do a numbered task `count` times, `at_once` at a time; give what came of each, in no order."""
    numbers, results = iter(range(count)), []

    async def work():
        results.extend([await task(number) for number in numbers])

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(work)
    return results


async def records_of(server, ids, wait_s=10.0):
    """The records of many predictions, each once it has ended; one that does not end in time is given as it stands."""
    ids = list(ids)
    deadline = anyio.current_time() + wait_s

    async def read(lines):
        found = []
        async with line(server) as one:
            for key in lines:
                while True:
                    record = (await one.ask("GET", f"/v1/predictions/{key}")).json()
                    if record.get("status") in ENDED or anyio.current_time() > deadline:
                        break
                    await anyio.sleep(0.02)
                found.append(record)
        return found

    parts = await crowd(16, 16, lambda number: read(ids[number::16]))
    return [record for part in parts for record in part]


async def listed(server):
    """Every prediction of the account, over all pages of its list."""
    found, cursor = [], ""
    async with line(server) as one:
        while cursor is not None:
            page = (await one.ask("GET", f"/v1/predictions?page_size=50{cursor}")).json()
            found += page["items"]
            cursor = page["next_cursor"] and f"&cursor={page['next_cursor']}"
    return found
