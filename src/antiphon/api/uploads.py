"""Files taken in as they come: bounded while they arrive, on disk but for a little, and stored a few at a time."""

import time
from collections import Counter
from contextlib import aclosing
from tempfile import SpooledTemporaryFile
from uuid import uuid4

import anyio
from anyio import CapacityLimiter
from uvicorn._types import ASGIReceiveCallable, HTTPScope

from antiphon.api.incoming import header, read_pieces
from antiphon.api.services import FileLimits
from antiphon.core.files import Files
from antiphon.domain.errors import BodyTooLarge, StorageUnavailable
from antiphon.domain.files import File
from antiphon.wire.files import UploadReader

FORM_BYTES = 16_384
"""What a form may have beside its file."""
MEMORY_BYTES = 262_144
"""How much of a file that arrives is in memory; what is larger lies in a file without a name."""
STORING = 2
"""How many are whole in memory at once, on their way into the store."""


class Uploads:
    """Takes files in."""

    def __init__(self, files: Files, limits: FileLimits) -> None:
        self._files, self._limits = files, limits
        self._arriving: Counter[str] = Counter()
        """How many bytes of each account are on their way."""
        self._storing = CapacityLimiter(STORING)

    async def take(self, scope: HTTPScope, receive: ASGIReceiveCallable, account: str) -> File:
        """Take a file in, and keep it.

        Raises:
            UnsupportedMediaType, InvalidRequest: it is no form, or a wrong one.
            BodyTooLarge, FileQuotaExceeded: there is too much of it, as soon as that is known.
            StorageUnavailable: it cannot be kept.
            ClientLeft: the client is gone.
        """
        try:
            with SpooledTemporaryFile(MEMORY_BYTES, dir=str(self._limits.folder)) as spool:
                return await self._take(scope, receive, account, spool)
        except OSError as error:
            raise StorageUnavailable("There is no room to take the file in.") from error

    async def _take(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, account: str, spool: "SpooledTemporaryFile[bytes]"
    ) -> File:
        limits = self._limits
        reader = UploadReader(header(scope, b"content-type") or b"", spool.write)
        await self._receive(scope, receive, account, reader)
        upload = reader.finish()
        now = int(time.time())
        expires = now + min(upload.expires_after_s or limits.retain_s, limits.retain_s)
        file = File(f"file-{uuid4().hex}", account, upload.filename, reader.size, now, expires)
        async with self._storing:
            spool.seek(0)
            await self._files.add(file, await anyio.to_thread.run_sync(spool.read), limits.quota)
        return file

    async def _receive(
        self, scope: HTTPScope, receive: ASGIReceiveCallable, account: str, reader: UploadReader
    ) -> None:
        """Read a form to its end, or until it is too much: alone, or with what the account has and sends beside it."""
        limits, quota = self._limits, self._limits.quota
        count, kept = await self._files.usage(account)
        quota.check(count + 1, kept)
        arrived = 0
        try:
            async with aclosing(read_pieces(scope, receive, limits.file_bytes + FORM_BYTES)) as pieces:
                async for piece in pieces:
                    # In a thread, for the disk's sake; and forms can be made that take long to read.
                    await anyio.to_thread.run_sync(reader.feed, piece)
                    self._arriving[account] += reader.size - arrived
                    arrived = reader.size
                    if arrived > limits.file_bytes:
                        raise BodyTooLarge(f"A file has at most {limits.file_bytes} bytes.")
                    quota.check(count + 1, kept + self._arriving[account])
        finally:
            self._arriving[account] -= arrived
            if not self._arriving[account]:
                del self._arriving[account]
