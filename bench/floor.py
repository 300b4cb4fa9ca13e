"""The floor: the least a proxy in Python can do. Raw ASGI under uvicorn, aiohttp behind it, nothing checked or kept.

python -m bench.floor UPSTREAM_PORT
"""

import asyncio
import sys
from collections.abc import Callable

import aiohttp
import uvicorn

UPSTREAM = f"http://127.0.0.1:{sys.argv[1]}" if len(sys.argv) > 1 else ""


class Floor:
    """Passes requests on and answers back."""

    def __init__(self) -> None:
        self._http: aiohttp.ClientSession | None = None

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        if scope["type"] != "http":
            return
        if self._http is None:
            self._http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = {"content-type": "application/json"}
        async with self._http.request(scope["method"], UPSTREAM + scope["path"], data=body, headers=headers) as answer:
            kept = [(name, value) for name, value in answer.raw_headers if name.lower() != b"transfer-encoding"]
            await send({"type": "http.response.start", "status": answer.status, "headers": kept})
            async for part in answer.content.iter_any():
                await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


async def main() -> None:
    server = uvicorn.Server(uvicorn.Config(Floor(), port=0, log_level="warning", access_log=False, loop="uvloop"))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    print(f"floor on port {server.servers[0].sockets[0].getsockname()[1]}", flush=True)
    await task


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
