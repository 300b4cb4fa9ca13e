"""What the store's tests share: predictions as the core makes them, without a server around them."""

import json
import time
from dataclasses import replace
from functools import partial
from uuid import uuid4

from anyio import CancelScope
from sqlalchemy import select

from antiphon.core.admission import Admission
from antiphon.core.contract import Contract
from antiphon.core.fold import Fold
from antiphon.core.ports import Work
from antiphon.core.registry import Resolved
from antiphon.core.running import Call, Running
from antiphon.domain.chat import ChatRequest, Message
from antiphon.domain.errors import EngineFailed
from antiphon.domain.events import Accepted, ChoiceFinished, Finished, TextDelta
from antiphon.domain.models import Model, ModelName, Version
from antiphon.domain.prediction import CancelReason, Prediction, Status
from antiphon.engines.scripted import ScriptedEngine
from antiphon.store.batch import Change, apply
from antiphon.store.rows import packed
from antiphon.store.tables import predictions

MOST = 1_048_576
INSTANCE = "a" * 32
ROAD = (Status.STARTING, Status.STARTED)


def resolved(model="test/hello", **script):
    """A model with one version, on a scripted engine."""
    owner, name = model.split("/")
    version = Version(1, "scripted", "abc")
    whole = Model(owner, name, (version,), account=None, slots=2000, queue=2000, deadline_s=60, created=0)
    return Resolved(whole, version, ScriptedEngine(script), Admission(2000, 2000))


def call(account="team", *, text="Hi", model="test/hello", store=False, metadata=None, webhook=None, stream=False):
    """A call as the edge makes it."""
    named = ModelName.parse(model)
    messages = [{"role": "user", "content": text}]
    request = ChatRequest(
        named, model, (Message("user", text),), store=store, metadata=dict(metadata or {}), stream=stream
    )
    found = resolved(model)
    body = json.dumps({"model": model, "messages": messages}, ensure_ascii=False).encode()
    work = Work(uuid4(), account, request)
    return Call(work, found, Contract(request, {}), 60.0, body, webhook, is_streamed=stream)


def begun(of=None, created_us=None, **fields):
    """A prediction that has just begun."""
    of = of or call(**fields)
    model, version = of.resolved.model.id, of.resolved.version.number
    created_us = time.time_ns() // 1000 if created_us is None else created_us
    state = Prediction(of.work.prediction_id, of.work.account, model, version, created_us)
    running = Running(of, state, Fold(1), CancelScope())
    running.move(state)
    return running


def moved(running, status, text="Hello"):
    """Move a prediction the legal way to a status, with an answer if it gets that far."""
    stops = {Status.PENDING: (), Status.STARTING: ROAD[:1]}.get(status, ROAD)
    for stop in stops:
        if running.prediction.status is not stop and stop not in running.begun:
            running.move(running.prediction.moved(stop))
    if status is Status.SUCCEEDED:
        for event in (Accepted(3, 0), TextDelta(0, text, 1), ChoiceFinished(0, "stop", 1), Finished()):
            running.fold.add(event)
    if status is Status.FAILED:
        running.error = EngineFailed("The engine died.")
    if status.is_terminal:
        reason = CancelReason.REQUESTED if status is Status.CANCELLED else None
        running.move(running.prediction.moved(status, reason))
    return running


async def write(database, *running, instance=INSTANCE, is_new=True, most=MOST):
    """Write predictions as they stand, in one transaction; give those that had ended already."""
    changes = [Change(each, each.prediction, is_new) for each in running]
    return await database.write(partial(apply, changes, instance, partial(packed, most_bytes=most)))


async def kept(database, *running, **options):
    """Write predictions that have ended: as they began, then their end."""
    starts = [Change(each, replace(each.prediction, status=Status.PENDING, reason=None), True) for each in running]
    pack = partial(packed, most_bytes=options.get("most", MOST))
    await database.write(partial(apply, starts, options.get("instance", INSTANCE), pack))
    assert not await write(database, *running, is_new=False, **options)


async def statuses(database):
    """Every prediction's status, by its id."""
    query = select(predictions.c.id, predictions.c.status)
    return await database.read(lambda connection: {row.id: row.status for row in connection.execute(query)})


async def rows(database, table):
    """Everything in a table."""
    return await database.read(lambda connection: list(connection.execute(select(table))))
