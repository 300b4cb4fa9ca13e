"""The command line: serve, models, keys, predictions, check. Every expected failure is one line and a non-zero exit."""

import json
import math
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from uuid import UUID

import anyio
import typer

from antiphon.domain.limits import KeyLimits
from antiphon.domain.prediction import Status
from antiphon.settings import Settings, SettingsError, read_settings

ACCOUNT_CHARS = 64
NAME_CHARS = 200
MOST_LIMIT = 10**15
LIMIT_HELP = (
    "NAME=NUMBER, as often as needed: requests_per_s, concurrent, tokens_per_minute, tokens_per_day, tokens_per_month."
)

app = typer.Typer(
    name="antiphon",
    help="A self-hosted chat-completions service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
models = typer.Typer(help="The models of the configuration.", no_args_is_help=True)
keys = typer.Typer(help="Bearer keys.", no_args_is_help=True)
app.add_typer(models, name="models")
predictions = typer.Typer(help="Predictions, of every account.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(predictions, name="predictions")


def main() -> None:
    """Run the command line."""
    app()


def _fail(message: object) -> NoReturn:
    typer.echo(f"antiphon: {message}", err=True)
    raise SystemExit(1)


def _settings() -> Settings:
    try:
        return read_settings()
    except SettingsError as error:
        _fail(
            error.findings[0]
            if len(error.findings) == 1
            else "\n".join(["the configuration is wrong:", *error.findings])
        )


def _run(task: Coroutine[Any, Any, Any], *failures: type[Exception]) -> Any:
    """Run a task to its end; a failure of one of the kinds is one line."""

    async def run() -> Any:
        return await task

    try:
        return anyio.run(run, backend_options={"use_uvloop": True})
    except failures as error:
        _fail(error)


@app.command()
def serve() -> None:
    """Serve the configured models until told to stop."""
    settings = _settings()
    # The server's libraries take most of a second to load; no other command needs them.
    from antiphon import app as server  # noqa: PLC0415
    from antiphon import workers  # noqa: PLC0415
    from antiphon.log import configure_log  # noqa: PLC0415

    configure_log()
    run = server.run if settings.server.workers == 1 else workers.run
    _run(run(settings, typer.echo), *server.FAILURES, workers.WorkerFailed)


def _fail_with(findings: Iterable[str]) -> NoReturn:
    for finding in findings:
        typer.echo(finding, err=True)
    raise SystemExit(1)


def _unfit(settings: Settings) -> Iterator[str]:
    """What the start would find wrong with a version beside its files and keys."""
    from antiphon.domain.errors import EngineFailed  # noqa: PLC0415
    from antiphon.engines.catalogue import judge  # noqa: PLC0415

    for name, model in settings.models.items():
        for version in model.versions:
            try:
                judge(version.engine, f"{name}:{version.number}", version.options)
            except EngineFailed as error:
                yield f"{settings.source}: {error.message}"


@app.command()
def check(file: Annotated[Path | None, typer.Argument(help="A configuration file.")] = None) -> None:
    """Say what is wrong with a configuration."""
    try:
        settings = read_settings(file=file)
    except SettingsError as error:
        _fail_with(error.findings)
    if findings := list(_unfit(settings)):
        _fail_with(findings)
    versions = sum(len(model.versions) for model in settings.models.values())
    typer.echo(f"{settings.source}: ok: {len(settings.models)} models, {versions} versions")


@models.command("list")
def list_models() -> None:
    """List the configured models."""
    for name, model in _settings().models.items():
        numbers = ", ".join(f"{version.number} ({version.engine})" for version in model.versions)
        typer.echo(f"{name}  {model.visibility}  {model.slots} slots  versions {numbers}")


@models.command("show")
def show_model(name: str) -> None:
    """Show one model's configuration as JSON."""
    model = _settings().models.get(name)
    if model is None:
        _fail(f"there is no model {name!r} in the configuration")
    typer.echo(model.model_dump_json(indent=2, exclude_none=True))


@models.command()
def pull() -> None:
    """Fetch and check the weights of every configured version, and what speech needs where that is enabled."""
    settings = _settings()
    from antiphon import provision  # noqa: PLC0415

    try:
        for (name, number), fetched in provision.pull(settings).items():
            typer.echo(f"{name}:{number}  {fetched.weights}")
        if folder := provision.pull_speech(settings):
            typer.echo(f"speech  {folder}")
    except provision.WeightsError as error:
        _fail(error)


@keys.command()
def create(
    account: Annotated[str, typer.Option(help="The account that the key acts for.")],
    name: Annotated[str, typer.Option(help="What it is for, to tell it from others.")] = "",
    limit: Annotated[list[str] | None, typer.Option(help=LIMIT_HELP)] = None,
) -> None:
    """Make a key and print it, alone, on the last line; it cannot be shown again."""
    if not 1 <= len(account) <= ACCOUNT_CHARS or not account.isprintable():
        _fail(f"an account's name has 1 to {ACCOUNT_CHARS} printable characters")
    limits = _limits(limit or [])
    typer.echo(_with_keys(lambda keys: keys.create(account, name[:NAME_CHARS], limits)))


@keys.command()
def limit(key_id: str, limits: Annotated[list[str] | None, typer.Argument(help=LIMIT_HELP)] = None) -> None:
    """Set what a key may do; without limits, it may do anything. Running servers notice within seconds."""
    wanted = _limits(limits or [])
    if not _with_keys(lambda keys: keys.limit(key_id, wanted)):
        _fail(f"there is no active key {key_id!r}")


def _limits(written: list[str]) -> KeyLimits:
    """Read limits as a person writes them: `name=number`."""
    names = {field.name for field in fields(KeyLimits)}
    read: dict[str, Any] = {}
    for one in written:
        name, _, number = one.partition("=")
        if name not in names:
            _fail(f"{name!r} is no limit; there are: {', '.join(sorted(names))}")
        is_whole = number.isascii() and number.isdecimal()
        try:
            read[name] = int(number) if is_whole else float(number)
        except ValueError:
            read[name] = math.nan
        if not 0 < read[name] <= MOST_LIMIT or not (is_whole or name == "requests_per_s"):
            kind = "number" if name == "requests_per_s" else "whole number"
            _fail(f"{name} should be a {kind} above 0, and {MOST_LIMIT:,} at most")
    return KeyLimits(**read)


@keys.command("list")
def list_keys() -> None:
    """List all keys, without their secrets."""
    for key in _with_keys(lambda keys: keys.list()):
        created = datetime.fromtimestamp(key.created, UTC).strftime("%Y-%m-%d %H:%M")
        state = "revoked" if key.revoked else "active"
        limits = "".join(f"  {name}={value:g}" for name, value in asdict(key.limits).items() if value is not None)
        typer.echo(f"{key.id}  {key.account}  {created}  {state}  {key.name}{limits}")


@keys.command()
def revoke(key_id: str) -> None:
    """End a key; running servers notice within seconds."""
    if not _with_keys(lambda keys: keys.revoke(key_id)):
        _fail(f"there is no active key {key_id!r}")


def _with_keys(use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Use the store's keys. The server's libraries are not loaded for this."""
    from antiphon.domain.errors import StorageUnavailable  # noqa: PLC0415
    from antiphon.store.keys import open_keys  # noqa: PLC0415
    from antiphon.store.unfit import StoreUnfit  # noqa: PLC0415

    settings = _settings()

    async def run() -> Any:
        async with open_keys(settings.store.url, settings.home) as (_, keys):
            return await use(keys)

    return _run(run(), StoreUnfit, StorageUnavailable)


@predictions.command("list")
def list_predictions(
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    status: Annotated[Status | None, typer.Option(help="Only those that stand so.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")] = 20,
) -> None:
    """List the newest predictions."""
    from antiphon.store import operator  # noqa: PLC0415

    for record in _with_store(lambda database: operator.newest(database, account, status, limit)):
        created = datetime.fromtimestamp(record.created_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S")
        why = f"  {record.reason or record.failure.code}" if record.failure else ""
        model = f"{record.model}:{record.version}"
        tokens = f"{record.usage.prompt_tokens}+{record.usage.completion_tokens} tokens"
        typer.echo(f"{record.id}  {created}  {record.status:9}  {record.account}  {model}  {tokens}{why}")


@predictions.command("show")
def show_prediction(prediction_id: str) -> None:
    """Show one prediction as JSON: what was asked, what came of it, and what it cost."""
    from antiphon.store import operator  # noqa: PLC0415
    from antiphon.wire.wriftai import prediction_body  # noqa: PLC0415

    key = _prediction_id(prediction_id)
    record = _with_store(lambda database: operator.find(database, key))
    if record is None:
        _fail(f"there is no prediction {prediction_id!r}")
    typer.echo(json.dumps(json.loads(prediction_body(record)), indent=2, ensure_ascii=False))


@predictions.command("cancel")
def cancel_prediction(prediction_id: str) -> None:
    """Ask for a prediction to be cancelled; the server that runs it does so within a second."""
    from antiphon.store import operator  # noqa: PLC0415

    key = _prediction_id(prediction_id)
    if not _with_store(lambda database: operator.request_cancel(database, key)):
        record = _with_store(lambda database: operator.find(database, key))
        _fail(f"the prediction has ended: {record.status}" if record else f"there is no prediction {prediction_id!r}")


def _prediction_id(text: str) -> UUID:
    """Read an id as the API or a completion writes it."""
    try:
        return UUID(text.removeprefix("chatcmpl-"))
    except ValueError:
        _fail(f"{text[:64]!r} is not a prediction's id")


def _with_store(use: Callable[[Any], Awaitable[Any]]) -> Any:
    """Use the database. The server's libraries are not loaded for this."""
    from antiphon.domain.errors import StorageUnavailable  # noqa: PLC0415
    from antiphon.store.database import open_database  # noqa: PLC0415
    from antiphon.store.unfit import StoreUnfit  # noqa: PLC0415

    settings = _settings()

    async def run() -> Any:
        async with open_database(settings.store.url, settings.home) as database:
            return await use(database)

    return _run(run(), StoreUnfit, StorageUnavailable)


if __name__ == "__main__":
    main()
