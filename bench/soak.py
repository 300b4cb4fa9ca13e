"""Whether a server that is used for long grows: half the load it can take, of everything that clients do.

    python -m bench --only soak [--minutes M]

Antiphon stands before bench/mock.py, with keys, limits, records, metrics, log lines and traces. First it is found out
how much of the mix it serves; then half of that comes at a steady pace: whole answers, streams, slow streams, bad
requests, streams that are left in the middle, streams that are cancelled. Every 10 s its memory, open files, threads
and tasks are looked at; what comes behind the first fifth has to stay flat. Fails where it does not.
"""

import asyncio
import contextlib
import itertools
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from uuid import UUID

import psutil
import uvloop

from bench.gateways import Gateway, antiphon, started
from bench.load import Link
from bench.memory import tasks_of

MINUTES = 5.0
EVERY_S = 10.0
CAPACITY_S = 10.0
CONNECTIONS = 128
"""That find out how much it can take."""
FLAT_MIB = 1.0
"""A minute."""
SETTLE_S = 20.0
"""How long what runs at the end may take to end."""
PAUSE_MS = "20"
"""Between the events of a slow stream, of which there are 67."""
MORE = """
[store]
retain_rows = 100_000
[traces]
otlp_url = "http://127.0.0.1:{collector}"
[models."bench/slow"]
slots = 512
queue = 10000
[[models."bench/slow".versions]]
number = 1
engine = "upstream"
base_url = "http://127.0.0.1:{slow}/v1"
model = "mock"
kind = "openai"
"""
CHAT = "/v1/chat/completions"
TALK = [{"role": "user", "content": "Say hello to the world, please."}]
FAST = {"model": "bench/mock", "messages": TALK}
SLOW = {"model": "bench/slow", "messages": TALK, "stream": True}
BAD = (FAST | {"temperature": 9}, FAST | {"model": "bench/nobody"}, FAST | {"messages": []}, FAST | {"tools": 1})

Rows = list[tuple[str, str]]


@dataclass(frozen=True)
class Seen:
    """How the server was at a time."""

    minute: float
    rss_mib: float
    files: int
    threads: int
    tasks: int


class Client:
    """Does in turn what clients do; each call is one of these."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._idle: list[Link] = []
        often = (self._whole, self._stream, self._whole, self._stream, self._whole)
        self._turns = itertools.cycle((*often, self._slow, self._bad, *often, self._left, self._cancelled, self._bad))
        self._bad_bodies = itertools.cycle(BAD)
        self.done = 0
        self.wrong: dict[str, int] = {}
        """What did not go as it should, and how often."""

    async def __call__(self) -> None:
        await self._do(next(self._turns))

    async def look(self) -> None:
        """Ask for the metrics, as Prometheus does."""
        await self._do(self._metrics)

    async def _do(self, kind: Callable[[Link], Awaitable[bool]]) -> None:
        link = self._idle.pop() if self._idle else Link(self._gateway.port, self._gateway.key)
        try:
            is_right = await kind(link)
        except (OSError, asyncio.IncompleteReadError) as error:
            is_right = False
            link.close()
            self._note(f"{kind.__name__.strip('_')}: {type(error).__name__}")
        else:
            if not is_right:
                self._note(kind.__name__.strip("_"))
            if kind in {self._left, self._cancelled}:
                link.close()
            else:
                self._idle.append(link)
        self.done += 1

    def _note(self, what: str) -> None:
        self.wrong[what] = self.wrong.get(what, 0) + 1

    def close(self) -> None:
        for link in self._idle:
            link.close()

    async def _metrics(self, link: Link) -> bool:
        return b"gen_ai_server" in (await link.send(link.request("/metrics")))[1]

    async def _whole(self, link: Link) -> bool:
        return (await link.send(link.request(CHAT, FAST)))[0] == 200

    async def _stream(self, link: Link) -> bool:
        _, body, _ = await link.send(link.request(CHAT, FAST | {"stream": True}))
        return b"[DONE]" in body

    async def _slow(self, link: Link) -> bool:
        _, body, _ = await link.send(link.request(CHAT, SLOW))
        return b"[DONE]" in body

    async def _bad(self, link: Link) -> bool:
        return (await link.send(link.request(CHAT, next(self._bad_bodies))))[0] in {400, 404, 422}

    async def _left(self, link: Link) -> bool:
        return b" 200 " in await link.begin(link.request(CHAT, SLOW))

    async def _cancelled(self, link: Link) -> bool:
        begun = await link.begin(link.request(CHAT, SLOW))
        prediction = UUID(json.loads(begun.rpartition(b"data: ")[2])["id"].removeprefix("chatcmpl-"))
        other = Link(self._gateway.port, self._gateway.key)
        status, _, _ = await other.send(other.request(f"/v1/predictions/{prediction}/cancel", {}))
        other.close()
        # On a machine that is busy elsewhere it has ended before.
        return status == 409 or (status == 200 and b'"prediction_cancelled"' in await link.rest())


def measure(minutes: float = MINUTES) -> Rows:
    with contextlib.ExitStack() as stack:
        mock = [sys.executable, "-m", "bench.mock"]
        _, quick = stack.enter_context(started(mock, r"mock on port (\d+)"))
        _, slow = stack.enter_context(started([*mock, "--pause-ms", PAUSE_MS], r"mock on port (\d+)"))
        more = MORE.format(collector=quick, slow=slow)
        gateway = stack.enter_context(antiphon(int(quick), more, "bench.inside"))
        rows, verdict = uvloop.run(_run(gateway, minutes))
    for row in rows:
        print(*row, sep=": ", flush=True)
    if verdict:
        sys.exit(f"soak: {', '.join(verdict)}")
    return rows


async def _run(gateway: Gateway, minutes: float) -> tuple[Rows, list[str]]:
    client = Client(gateway)
    per_s = await _capacity(client)
    client.done, client.wrong, begun = 0, {}, time.perf_counter()
    print(f"serves {per_s:.0f} a second; half of it for {minutes:g} minutes", flush=True)
    seen = await _steady(client, gateway, per_s / 2, minutes)
    asked = client.done / (time.perf_counter() - begun)
    client.close()
    return _rows(seen, client, (per_s, asked), await _left_open(gateway))


async def _capacity(client: Client) -> float:
    end = time.perf_counter() + CAPACITY_S

    async def go_on() -> None:
        while time.perf_counter() < end:
            await client()

    await asyncio.gather(*[go_on() for _ in range(CONNECTIONS)])
    return client.done / CAPACITY_S


async def _steady(client: Client, gateway: Gateway, per_s: float, minutes: float) -> list[Seen]:
    """Let clients come at a pace, and look at the server meanwhile.

    As many as before are there at once at most: where the machine has no time for half of it, fewer come.
    """
    seen: list[Seen] = []
    room = asyncio.Semaphore(CONNECTIONS)

    async def one() -> None:
        await client()
        room.release()

    begun = due = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(_look(client, gateway, begun, seen))
        while due < begun + 60 * minutes:
            await room.acquire()
            group.create_task(one())
            due = max(due + 1 / per_s, time.perf_counter() - 1 / per_s)
            await asyncio.sleep(due - time.perf_counter())
        looking.cancel()
    return seen


async def _look(client: Client, gateway: Gateway, begun: float, seen: list[Seen]) -> None:
    process = psutil.Process(gateway.pid)
    while True:
        await asyncio.sleep(EVERY_S)
        await client.look()
        tasks = await asyncio.to_thread(tasks_of, gateway.pid, gateway.home)
        minute = (time.perf_counter() - begun) / 60
        rss_mib = process.memory_info().rss / 2**20
        seen.append(Seen(minute, rss_mib, process.num_fds(), process.num_threads(), tasks))


async def _left_open(gateway: Gateway) -> int:
    """How many predictions have not ended, once they had time to."""
    link = Link(gateway.port, gateway.key)
    path = "/v1/predictions?page_size=50&" + "&".join(f"statuses={name}" for name in ("pending", "starting", "started"))
    end = time.perf_counter() + SETTLE_S
    while True:
        _, body, _ = await link.send(link.request(path))
        left = len(json.loads(body)["items"])
        if not left or time.perf_counter() > end:
            link.close()
            return left
        await asyncio.sleep(0.5)


def _slope(seen: list[Seen]) -> float:
    """Give by how many MiB a minute memory grows: the median over all pairs of times (Theil and Sen).

    A busy moment leaves a step behind, since allocators keep what they had to take. That is no growth, and a line
    through all points would make it one.
    """
    pairs = itertools.combinations(seen, 2)
    return statistics.median((two.rss_mib - one.rss_mib) / (two.minute - one.minute) for one, two in pairs)


def _rows(seen: list[Seen], client: Client, per_s: tuple[float, float], left: int) -> tuple[Rows, list[str]]:
    """Give what was seen, and what of it is wrong."""
    late = seen[len(seen) // 5 :]
    slope = _slope(late)
    first, last = late[0], late[-1]
    wrong = ", ".join(f"{what} {count} times" for what, count in client.wrong.items()) or "none"
    spread = ", ".join(f"{one.rss_mib:.1f}" for one in seen[:: max(1, len(seen) // 20)])
    rows = [
        ("served at most, and asked for", f"{per_s[0]:.0f} and {per_s[1]:.0f} requests a second"),
        ("memory behind the first fifth", f"{slope:+.2f} MiB a minute, {first.rss_mib:.1f} to {last.rss_mib:.1f} MiB"),
        ("memory over the whole time, MiB", spread),
        ("open files, threads, tasks behind the first fifth", f"{first.files}, {first.threads}, {first.tasks}"),
        ("open files, threads, tasks at the end", f"{last.files}, {last.threads}, {last.tasks}"),
        ("requests that went wrong", f"{wrong}, of {client.done}"),
        ("predictions that have not ended", str(left)),
    ]
    faults = [f"memory grows by {slope:.2f} MiB a minute"] if slope >= FLAT_MIB else []
    third = max(1, len(late) // 3)
    for name in ("files", "threads", "tasks"):
        # What runs at a moment comes and goes: it grows where its least is more than its most once was.
        then, now = ([getattr(one, name) for one in part] for part in (late[:third], late[-third:]))
        faults += [f"open {name} grow"] if min(now) > max(then) else []
    return rows, faults + ([f"{left} predictions never ended"] if left else [])
