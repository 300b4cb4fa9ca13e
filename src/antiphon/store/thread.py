"""A thread that does one thing after another for the event loop, at a fifth of the price of one from a pool."""

import asyncio  # noqa: TID251 - a future is what one waiter needs
from collections.abc import Callable
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

from anyio import CancelScope

T = TypeVar("T")


class OneThread:
    """Runs calls in their order, each to its end, whoever is cancelled meanwhile."""

    def __init__(self, name: str) -> None:
        self._calls: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._name = name
        self._thread: Thread | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """Give what a call gives, and raise what it raises."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put((call, future))
        if self._thread is None:
            self._thread = Thread(target=self._work, name=self._name, daemon=True)
            self._thread.start()
        with CancelScope(shield=True):
            await future
        return future.result()

    def close(self) -> None:
        """End, once what was asked for is done; the next call begins again."""
        if self._thread:
            self._calls.put(None)
            self._thread.join()
            self._thread = None

    def _work(self) -> None:
        while job := self._calls.get():
            call, future = job
            tell = future.get_loop().call_soon_threadsafe
            try:
                given = call()
            except BaseException as error:  # noqa: BLE001 - it is raised where the call was made
                tell(_fail, future, error)
            else:
                tell(_succeed, future, given)
                del given
            del job, call, future, tell  # Nothing of it is kept until the next comes.


def _succeed(future: asyncio.Future[Any], given: Any) -> None:
    if not future.done():
        future.set_result(given)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
