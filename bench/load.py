"""A closed loop of plain HTTP requests, cheap enough to share two cores with the server it drives."""

import asyncio
import json
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Loaded:
    """What one run gave."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    failed: int


def drive(port: int, key: str, body: dict, connections: int, seconds: float) -> Loaded:
    """Keep `connections` requests under way for `seconds`."""
    raw = json.dumps(body).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(raw)}\r\n\r\n"
    )
    return asyncio.run(_drive(port, head.encode() + raw, connections, seconds))


async def _drive(port: int, request: bytes, connections: int, seconds: float) -> Loaded:
    took: list[float] = []
    failed = 0
    end = time.perf_counter() + seconds

    async def one() -> None:
        nonlocal failed
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < end:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            took.append(time.perf_counter() - begun)
            failed += not head.startswith(b"HTTP/1.1 200")
        writer.close()

    await asyncio.gather(*[one() for _ in range(connections)])
    took.sort()
    return Loaded(len(took) / seconds, 1000 * took[len(took) // 2], 1000 * took[int(len(took) * 0.99)], failed)
