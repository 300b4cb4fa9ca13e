"""Tasks beside a body of code."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup


@asynccontextmanager
async def companions() -> AsyncGenerator[TaskGroup]:
    """Run tasks beside the body. They are stopped when it ends; what it raises comes out as it is.

    A bare task group would wrap it in an ExceptionGroup.
    """
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        try:
            yield group
        except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
