"""Notices of a prediction's changes, sent to the URL its creator named: signed, in order, tried again, and bounded.

A notice may arrive more than once. It is lost when its receiver refuses it or stays away for every try, when too much
waits already, and when the server ends before it went out.
"""

import hashlib
import hmac
import random
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import anyio
import structlog
from anyio.abc import TaskGroup
from yarl import URL

from antiphon import __version__
from antiphon.domain.record import Webhook
from antiphon.outbound.addresses import UrlNotAllowed, read_url
from antiphon.outbound.session import Session, Unreachable, open_session
from antiphon.outbound.slots import Slots

JITTER: Final = 0.25
"""The largest share by which a pause is drawn out, so that what failed together is not tried again together."""
REQUEST_TIMEOUT, TOO_MANY_REQUESTS, FIRST_SERVER_ERROR = 408, 429, 500

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Plan:
    """How notices are sent."""

    pauses_s: tuple[float, ...] = (1.0, 4.0, 15.0, 60.0, 240.0)
    """Between one try and the next: one more try than there are pauses."""
    grace_s: float = 2.0
    """How long, at the end, what waits has to go out."""
    under_way: int = 16
    """Tries at once."""
    under_way_per_receiver: int = 4
    """Tries at once to one host and port."""
    waiting: int = 10_000
    """Notices that are not delivered yet, those under way included."""
    waiting_bytes: int = 64 * 1024 * 1024
    """The same, in bytes of their bodies."""


@dataclass(frozen=True, slots=True)
class _Notice:
    webhook: Webhook
    body: bytes


@asynccontextmanager
async def open_webhooks(*, allow_private: bool, plan: Plan | None = None) -> "AsyncGenerator[Webhooks]":
    """Deliver notices for the body; at its end what waits has one last try, within `grace_s`; none when cancelled.

    Args:
        allow_private: whether addresses that are not public may be dialled.
        plan: how they are sent.
    """
    plan = plan or Plan()
    failure: Exception | None = None
    async with open_session(allow_private=allow_private) as session:
        async with anyio.create_task_group() as group:
            webhooks = Webhooks(session, group, plan)
            try:
                yield webhooks
            except Exception as error:  # noqa: BLE001 - carried past the group, which would wrap it
                failure = error
            webhooks.end()
            group.cancel_scope.deadline = anyio.current_time() + plan.grace_s
        if webhooks.waiting:
            _log.warning("webhooks not delivered", notices=webhooks.waiting)
    if failure is not None:
        raise failure


class Webhooks:
    """The notices that are to be sent: a lane for each prediction, in which one waits for the one before it."""

    def __init__(self, session: Session, group: TaskGroup, plan: Plan) -> None:
        self._session, self._group, self._plan = session, group, plan
        self._slots = Slots(plan.under_way, plan.under_way_per_receiver)
        self._lanes: dict[UUID, deque[_Notice]] = {}
        self._ending = anyio.Event()
        self.waiting, self._waiting_bytes = 0, 0

    def __repr__(self) -> str:
        """Show the state, for tests and logs."""
        return f"<Webhooks {self.waiting} notices, {self._waiting_bytes} bytes, {len(self._lanes)} lanes>"

    def send(self, prediction_id: UUID, webhook: Webhook, body: bytes) -> None:
        """Have a notice delivered: at once and in the background. When too much waits, it is dropped, and logged.

        Args:
            prediction_id: whose notice it is; they are delivered in the order in which they were sent.
            webhook: where it goes.
            body: the prediction, as JSON.
        """
        size = self._waiting_bytes + len(body)
        if self._ending.is_set() or self.waiting >= self._plan.waiting or size > self._plan.waiting_bytes:
            _log.warning("webhook dropped", id=str(prediction_id))
            return
        self.waiting, self._waiting_bytes = self.waiting + 1, size
        if (lane := self._lanes.get(prediction_id)) is None:
            lane = self._lanes[prediction_id] = deque()
            self._group.start_soon(self._deliver_all, prediction_id, lane)
        lane.append(_Notice(webhook, body))

    def end(self) -> None:
        """Take nothing more, and try what waits for another try now, for the last time."""
        self._ending.set()

    async def _deliver_all(self, prediction_id: UUID, lane: deque[_Notice]) -> None:
        while lane:
            try:
                await self._deliver(prediction_id, lane[0])
            except Exception as error:  # noqa: BLE001 - a notice that breaks must not end those of everybody
                _log.error("webhook broke", id=str(prediction_id), kind=type(error).__name__)
            # Only now: one that is cancelled is counted as not delivered.
            self._waiting_bytes -= len(lane.popleft().body)
            self.waiting -= 1
        del self._lanes[prediction_id]

    async def _deliver(self, prediction_id: UUID, notice: _Notice) -> None:
        try:
            url = read_url(notice.webhook.url)
        except UrlNotAllowed:
            _gave_up(prediction_id, None)
            return
        status = await self._try(url, notice)
        for pause_s in self._plan.pauses_s:
            if self._ending.is_set() or not _is_worth_another_try(status):
                break
            with anyio.move_on_after(pause_s * (1 + JITTER * random.random())):  # noqa: S311 - not a secret
                await self._ending.wait()
            status = await self._try(url, notice)
        if status is None or not 200 <= status <= 299:  # noqa: PLR2004 - what HTTP calls successful
            _gave_up(prediction_id, status)

    async def _try(self, url: URL, notice: _Notice) -> int | None:
        """Send a notice once; give the status of the answer, None without one."""
        async with self._slots.hold(url.host_port_subcomponent or ""):
            try:
                return await self._session.post(url, notice.body, _headers(notice))
            except Unreachable:
                return None


def signature(secret: str, body: bytes, at_s: int) -> str:
    """Sign a body: HMAC-SHA256, keyed by the secret as UTF-8, of the time in decimal, a dot, and the body.

    Args:
        secret: what both sides know.
        body: as it is sent.
        at_s: when, in seconds of Unix time; receivers accept it for 300 s.
    """
    made = hmac.digest(secret.encode(), b"%d." % at_s + body, hashlib.sha256)
    return f"t={at_s},v1={made.hex()}"


def _headers(notice: _Notice) -> dict[str, str]:
    headers = {"content-type": "application/json", "user-agent": f"antiphon/{__version__}"}
    if notice.webhook.secret is not None:
        # Of this try: an earlier one's may be too old by now.
        headers["wriftai-webhook-signature"] = signature(notice.webhook.secret, notice.body, int(time.time()))
    return headers


def _is_worth_another_try(status: int | None) -> bool:
    return status is None or status in {REQUEST_TIMEOUT, TOO_MANY_REQUESTS} or status >= FIRST_SERVER_ERROR


def _gave_up(prediction_id: UUID, status: int | None) -> None:
    _log.warning("webhook gave up", id=str(prediction_id), status="unreachable" if status is None else status)
