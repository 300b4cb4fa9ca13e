"""Listening, and stopping without dropping what runs: uvicorn in this process, its signals handled here."""

import asyncio  # noqa: TID251 - uvicorn's protocols are asyncio's
import errno
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager

import anyio
import uvicorn
from anyio.abc import TaskStatus
from uvicorn.server import ServerState

from antiphon.api.exchange import Endpoint
from antiphon.api.idle import Idle, room_for_idle
from antiphon.api.protocol import Protocol
from antiphon.core.predict import Predictor
from antiphon.domain.prediction import CancelReason

LEAVE_S = 2
"""How long connections have to end once nothing runs any more."""


class PortTaken(Exception):
    """The address cannot be listened on; the message says why, in one line."""


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], Awaitable[None]]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        """Leave the signals to `serve`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        await self._on_ready()


def bind(host: str, port: int, *, is_shared: bool = False) -> socket.socket:
    """Take an address, before anything slow is started for it.

    Args:
        host: an address of this machine, or its name.
        port: 0 for any free one.
        is_shared: whether others may have it who share it too.

    Raises:
        PortTaken: somebody else has it, or it is not ours to take.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if is_shared:
        share(listener)
    try:
        listener.bind((host, port))
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        why = "is in use by another program" if taken else f"cannot be used: {error}"
        raise PortTaken(f"port {port} on {host} {why}; choose another with ANTIPHON_PORT") from error
    return listener


def share(listener: socket.socket) -> None:
    """Let others have the address as well, who share it too. Linux divides connections among those that listen."""
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _protocols(app: Endpoint) -> Callable[..., Protocol]:
    """Give what uvicorn's server makes a protocol with, for each connection."""
    idle = Idle(room_for_idle())

    def make(*, server_state: ServerState, **_: object) -> Protocol:
        return Protocol(app, idle, server_state, asyncio.get_running_loop())

    return make


async def serve(
    app: Endpoint,
    listener: socket.socket,
    *,
    predictor: Predictor,
    drain_s: float,
    on_ready: Callable[[], Awaitable[None]],
) -> None:
    """Serve until SIGTERM or SIGINT, then drain and return.

    The listener stays open while running predictions finish, so that new ones hear `draining` and not silence. A second
    signal ends everything at once.
    """
    config = uvicorn.Config(
        app,
        http=_protocols(app),  # type: ignore[arg-type]  # it is called, and nothing else
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LEAVE_S,
    )
    server = _Server(config, on_ready)
    async with anyio.create_task_group() as group:
        await group.start(_stop_on_signal, server, predictor, drain_s)
        await server.serve(sockets=[listener])
        group.cancel_scope.cancel()


async def _stop_on_signal(
    server: uvicorn.Server, predictor: Predictor, drain_s: float, *, task_status: TaskStatus[None]
) -> None:
    # A terminal that goes away is no reason to stop.
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
        task_status.started()
        async with anyio.create_task_group() as group:
            async for received in signals:
                if received == signal.SIGHUP:
                    continue
                if predictor.is_draining:
                    predictor.cancel_all(CancelReason.SHUTDOWN)
                    server.should_exit = server.force_exit = True
                else:
                    group.start_soon(_drain, server, predictor, drain_s)


async def _drain(server: uvicorn.Server, predictor: Predictor, drain_s: float) -> None:
    await predictor.drain(drain_s)
    server.should_exit = True
