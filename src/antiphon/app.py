"""The composition root: the only place that knows everybody. Settings go in, a running server comes out."""

import gc
import json
import shlex
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from functools import partial
from importlib.util import find_spec

import anyio

from antiphon.api.app import create_app
from antiphon.api.server import PortTaken, bind, serve, share
from antiphon.api.services import FileLimits, Services
from antiphon.core.background import Background
from antiphon.core.files import Quota
from antiphon.core.ledger import open_ledger
from antiphon.core.limits import Ledger, Limiter
from antiphon.core.measures import Measures, Several
from antiphon.core.predict import Predictor
from antiphon.core.registry import Registry
from antiphon.core.senses import Senses
from antiphon.domain.errors import EngineFailed, StorageUnavailable
from antiphon.domain.limits import ADMIN
from antiphon.domain.prediction import CancelReason
from antiphon.domain.record import Record
from antiphon.meters.prometheus import Meters
from antiphon.offering import definition_digest, make_registry
from antiphon.outbound.addresses import check_url
from antiphon.outbound.webhooks import open_webhooks
from antiphon.provision import pull, pull_speech
from antiphon.sensing import open_senses
from antiphon.settings import Settings, SettingsError
from antiphon.store.archive import SqlArchive
from antiphon.store.completions import SqlCompletions
from antiphon.store.database import Database
from antiphon.store.files import open_files
from antiphon.store.idempotency import SqlIdempotency
from antiphon.store.keeping import Keeper, Retention
from antiphon.store.keys import SqlKeys, open_keys
from antiphon.store.recorder import Recorder
from antiphon.store.records import LoggedRecords
from antiphon.store.rooms import open_rooms
from antiphon.store.spending import SqlSpending
from antiphon.store.unfit import StoreUnfit
from antiphon.store.versions import hold_to_definitions
from antiphon.supplies.archives import WeightsError
from antiphon.wire.json_in import Limits
from antiphon.wire.wriftai import prediction_body

__all__ = ("FAILURES", "bind", "prepare", "run", "share", "work")

FAILURES = (PortTaken, StoreUnfit, StorageUnavailable, WeightsError, EngineFailed, SettingsError)
"""Why a server cannot start; each one's message is one line."""
MORE_KEYS = "antiphon keys create --account NAME"
"""What makes one."""


async def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serve in this process until a signal says stop.

    Args:
        settings: what to serve.
        announce: is given the lines to show once requests are taken.

    Raises:
        PortTaken, StoreUnfit, StorageUnavailable, WeightsError, EngineFailed, SettingsError: it cannot start; the
            message is one line.
    """
    with closing(bind(settings.server.host, settings.server.port)) as listener:
        banner = await prepare(settings, listener.getsockname()[1])
        await work(settings, listener, partial(announce, banner))


async def prepare(settings: Settings, port: int) -> str:
    """Do what is done once, however many processes serve; give the lines to show when they do.

    Raises:
        StoreUnfit, StorageUnavailable, WeightsError, SettingsError: as `run` does.
    """
    settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        # What may fail comes before a key is made: it would never be shown.
        await _traces(settings, port, stack)
        opened = open_keys(settings.store.url, settings.home, settings.api_key)
        database, keys = await stack.enter_async_context(opened)
        await _ledger(settings, database, stack)
        key = await _first_key(settings, keys)
    await anyio.to_thread.run_sync(pull_speech, settings)
    return _banner(settings, port, key)


async def work(settings: Settings, listener: socket.socket, on_ready: Callable[[], None]) -> None:
    """Serve what is prepared until a signal says stop; raises as `run` does."""
    async with AsyncExitStack() as stack:
        opened = open_keys(settings.store.url, settings.home, settings.api_key)
        database, keys = await stack.enter_async_context(opened)
        traces = await _traces(settings, listener.getsockname()[1], stack)
        limiter = Limiter(await _ledger(settings, database, stack))
        digests = {
            (name, version.number): definition_digest(version)
            for name, model in settings.models.items()
            for version in model.versions
        }
        seen = await hold_to_definitions(database, digests)
        registry = make_registry(settings, pull(settings), seen)
        for offer in registry.offers():
            for engine in offer.engines.values():
                await stack.enter_async_context(engine.open())
        services = await _services(settings, registry, database, keys, stack, limiter=limiter)
        if traces:
            services.predictor.measures = Several(services.predictor.measures, traces)
        await serve(
            create_app(services),
            listener,
            predictor=services.predictor,
            drain_s=settings.server.drain_s,
            on_ready=_settled(on_ready),
        )


async def _services(
    settings: Settings,
    registry: Registry,
    database: Database,
    keys: SqlKeys,
    stack: AsyncExitStack,
    *,
    limiter: Limiter,
) -> Services:
    """Set up what runs predictions and what writes them down."""
    hooks = await stack.enter_async_context(open_webhooks(allow_private=settings.webhooks.allow_private))

    def notify(record: Record) -> None:
        if record.webhook:
            hooks.send(record.id, record.webhook, prediction_body(record))

    archive = SqlArchive(database)
    files = await stack.enter_async_context(open_files(database))
    senses = await stack.enter_async_context(open_senses(settings, archive, files))
    predictor, is_store_well, lag_s = await _predictor(settings, database, senses, notify, stack)
    predictor.measures = meters = Meters(registry, lag_s, is_store_well)
    await stack.enter_async_context(meters.open())
    background = Background(predictor)
    await stack.enter_async_context(background.open())
    return Services(
        registry=registry,
        predictor=predictor,
        background=background,
        keys=keys,
        archive=archive,
        completions=SqlCompletions(database),
        idempotency=SqlIdempotency(database),
        files=files,
        file_limits=_file_limits(settings),
        limits=_limits(settings),
        limiter=limiter,
        deadline_s=settings.server.deadline_s,
        is_store_well=is_store_well,
        metrics=meters.written,
        trace_ratio=settings.traces.sample_ratio if settings.traces.otlp_url else None,
        has_records=settings.store.record,
        check_webhook=partial(check_url, allow_private=settings.webhooks.allow_private),
    )


async def _ledger(settings: Settings, database: Database, stack: AsyncExitStack) -> Ledger:
    """Set up where requests and tokens of keys are counted.

    Raises:
        StoreUnfit: it cannot be used.
    """
    if settings.store.limits_url:
        if not find_spec("redis"):
            raise StoreUnfit("Redis needs more packages: pip install 'antiphon[redis]'")
        from antiphon.store.redis_ledger import open_redis_ledger  # noqa: PLC0415 - it takes a tenth of a second to load

        return await stack.enter_async_context(open_redis_ledger(settings.store.limits_url))
    rooms = stack.enter_context(open_rooms(settings.home / "run"))
    return await stack.enter_async_context(open_ledger(SqlSpending(database), rooms))


async def _traces(settings: Settings, port: int, stack: AsyncExitStack) -> Measures | None:
    """Set up what sends traces, if any are wanted; else nothing of it is loaded.

    Raises:
        SettingsError: what it needs is not installed.
    """
    if settings.traces.otlp_url is None:
        return None
    try:
        from antiphon.meters.spans import SpanMaker  # noqa: PLC0415
        from antiphon.meters.traces import open_traces  # noqa: PLC0415
    except ImportError:
        raise SettingsError(["traces.otlp_url: needs more packages: pip install 'antiphon[traces]'"]) from None
    spans = SpanMaker(settings.server.host, port)
    return await stack.enter_async_context(open_traces(settings.traces.otlp_url, spans))


async def _predictor(
    settings: Settings, database: Database, senses: Senses, notify: Callable[[Record], None], stack: AsyncExitStack
) -> tuple[Predictor, Callable[[], bool], Callable[[], float]]:
    """Set up what runs predictions; give it, and what says whether its store is well, and how far it is behind."""
    if not settings.store.record:
        return Predictor(LoggedRecords(), senses), lambda: True, lambda: 0.0
    retention = Retention(settings.store.retain_s, settings.store.retain_rows)
    keeper = Keeper(database, settings.home / "run", retention, notify)
    recorder = Recorder(database, keeper.instance, settings.store.record_bytes, notify)
    predictor = Predictor(recorder, senses)
    # The recorder within the keeper: this process counts as alive until its last word is written.
    await stack.enter_async_context(keeper.open(partial(predictor.cancel, reason=CancelReason.REQUESTED)))
    await stack.enter_async_context(recorder.open())
    return predictor, lambda: keeper.is_well, recorder.lag_s


def _settled(on_ready: Callable[[], None]) -> Callable[[], Awaitable[None]]:
    async def ready() -> None:
        # All that was loaded stays. Without this each full collection walks it, and everything stands still for 70 ms.
        gc.collect()
        gc.freeze()
        on_ready()

    return ready


async def _first_key(settings: Settings, keys: SqlKeys) -> str | None:
    """Make a key when nobody could get in without one; None when somebody can.

    Raises:
        StoreUnfit: the server would be open to other machines while its only key was just printed on a screen.
    """
    if settings.api_key or any(key.revoked is None for key in await keys.list()):
        return None
    if not settings.server.is_loopback:
        raise StoreUnfit(
            f"{settings.server.host} can be reached by other machines: make a key first "
            f"({MORE_KEYS}) or set ANTIPHON_API_KEY"
        )
    return await keys.create(ADMIN, "made by the first start")


def _limits(settings: Settings) -> Limits:
    return Limits(body_bytes=settings.server.body_bytes, **settings.limits.model_dump())


def _file_limits(settings: Settings) -> FileLimits:
    media = settings.media
    quota = Quota(media.account_files, media.account_bytes)
    return FileLimits(media.file_bytes, media.file_retain_s, quota, settings.home)


def _banner(settings: Settings, port: int, key: str | None) -> str:
    """What a newcomer needs: where, which model, the key if it was just made, and a line to paste."""
    host = "127.0.0.1" if settings.server.host in {"0.0.0.0", "::"} else settings.server.host  # noqa: S104 - compared
    base_url = f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"
    messages = [{"role": "user", "content": "Hello!"}]
    body = json.dumps({"model": next(iter(settings.models)), "messages": messages, "max_completion_tokens": 100})
    secret = key or "$ANTIPHON_API_KEY"
    curl = f'curl {base_url}/chat/completions -H "Authorization: Bearer {secret}" -H "Content-Type: application/json"'
    lines = [
        "",
        "Antiphon is ready.",
        f"  base URL  {base_url}",
        *(f"  model     {name}" for name in settings.models),
        *([f"  key       {key}", f"            (shown this once; make more with: {MORE_KEYS})"] if key else []),
        "",
        f"{curl} -d {shlex.quote(body)}",
        "",
    ]
    return "\n".join(lines)
