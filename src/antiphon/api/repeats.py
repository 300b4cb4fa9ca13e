"""`Idempotency-Key`: a request that is sent again joins its running prediction, or gets the result there is.

A key stands for a prediction that runs or has succeeded. One that came to nothing (it failed, was cancelled because its
client left, was abandoned by a dead process) gives its key up: sending the request again then is what keys are for.
"""

import hashlib
import json
import re
from uuid import UUID

import anyio
from uvicorn._types import ASGIReceiveCallable, HTTPScope

from antiphon.api.calls import bad_header, need_records
from antiphon.api.incoming import ClientLeft, header, while_there
from antiphon.api.services import Services
from antiphon.api.sources import Joined, Kept, Source
from antiphon.core.ports import Claim
from antiphon.core.running import Call
from antiphon.domain.errors import AntiphonError, DeadlineExceeded, Draining, IdempotencyConflict, StorageUnavailable
from antiphon.domain.prediction import Status
from antiphon.domain.record import Record

HEADER = b"idempotency-key"
POLL_S = 0.25
"""How often a prediction that runs in another process is looked at."""
NASCENT_S = 10.0
"""How long a key may be ahead of its prediction's record; afterwards that will never come."""

_KEY = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")
_FORM = frozenset({"stream", "stream_options"})
"""What says only how the answer is sent."""


def key_of(scope: HTTPScope) -> str | None:
    """Read the key a request was sent with.

    Raises:
        InvalidRequest: it is longer than 255 characters, or not printable.
    """
    sent = header(scope, HEADER)
    if sent is None:
        return None
    if not _KEY.fullmatch(sent):
        raise bad_header(HEADER, "Not 1 to 255 printable ASCII characters.")
    return sent.decode("ascii")


class Repeats:
    """Knows which prediction a key stands for."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def find(self, call: Call, key: str, receive: ASGIReceiveCallable) -> Source | None:
        """Give what answers a request that was sent before; None when it is to be answered itself.

        Raises:
            ClientLeft: the client did not wait until that was known.
            IdempotencyConflict: the key stands for another request.
            DeadlineExceeded: what it stands for runs in another process, and is not ready in time.
            Draining: the same, and this one is shutting down.
            StorageUnavailable: keys cannot be looked up.
        """
        need_records(self._services)
        account, mine, digest = call.work.account, call.work.prediction_id, _digest(call.body)
        came_to_nothing: UUID | None = None
        while True:
            claim = await self._services.idempotency.claim(account, key, digest, mine, came_to_nothing)
            if claim.prediction_id == mine:
                return None
            if claim.digest != digest:
                raise IdempotencyConflict("This Idempotency-Key was used with another request.")
            running = self._services.predictor.find(account, claim.prediction_id)
            if running and not running.is_ending:
                return Joined(running)
            record = await self._ended(call, claim, receive)
            if record and record.status is Status.SUCCEEDED:
                kept = Kept(record, record.output) if record.output else None
                if kept is None or not kept.is_whole:
                    raise StorageUnavailable("The result of this key was too large to be kept.")
                return kept
            came_to_nothing = claim.prediction_id

    async def _ended(self, call: Call, claim: Claim, receive: ASGIReceiveCallable) -> Record | None:
        """Wait, while the client does, until a prediction has ended; None when there is none."""
        outcome: Record | AntiphonError | None = None
        has_left = True

        async def look() -> None:
            nonlocal outcome, has_left
            try:
                outcome = await self._poll(call, claim)
            except AntiphonError as error:
                outcome = error  # Carried past the group, which would wrap it.
            has_left = False

        await while_there(receive, look)
        if has_left:
            raise ClientLeft
        if isinstance(outcome, AntiphonError):
            raise outcome
        return outcome

    async def _poll(self, call: Call, claim: Claim) -> Record | None:
        get, age_s = self._services.archive.get, claim.age_s
        with anyio.move_on_after(call.deadline_s):
            while True:
                record = await get(call.work.account, claim.prediction_id)
                if record is None and age_s > NASCENT_S:
                    return None
                if record and record.status.is_terminal:
                    return record
                if self._services.predictor.is_draining:
                    # It does not run here, so no drain waits for it; sent again, the request finds its key elsewhere.
                    raise Draining("The server is shutting down.")
                await anyio.sleep(POLL_S)
                age_s += POLL_S
        raise DeadlineExceeded("The request with this Idempotency-Key is still being answered.")


def _digest(body: bytes) -> bytes:
    """What makes two requests the same: their JSON, however it is written and however the answer is sent."""
    tree = {name: value for name, value in json.loads(body).items() if name not in _FORM}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).digest()
