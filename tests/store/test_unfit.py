"""A store that cannot be used at all: one clear line, and nothing of it changed. DB-05."""

import ctypes
import os
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from antiphon.store.database import open_database
from tests.conftest import environment
from tests.store.test_migrations import FIRST_RELEASE

CONFIG = """
[[models."test/hello".versions]]
number = 1
engine = "scripted"
"""
STARTS_S = 15.0
"""How long the libraries may take to load on a busy machine; on an idle one all of this is over in a second."""


def without_privilege():
    """Root reads and writes whatever the mode says; a process that lost these two capabilities does not."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


def refusal(home, url="sqlite:///antiphon.db", *, command=("keys", "list"), is_bound=True):
    """Try to use the store; give what was said, after seeing that it ended by itself, in time and in one line."""
    config = home.parent / "antiphon.toml"
    config.write_text(f'[store]\nurl = "{url}"\n{CONFIG}')
    begun = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "antiphon.cli", *command],
        env=environment(home, ANTIPHON_CONFIG=str(config), ANTIPHON_API_KEY="sk-x"),
        capture_output=True,
        text=True,
        timeout=STARTS_S,
        check=False,
        preexec_fn=without_privilege if is_bound else None,
    )
    assert time.monotonic() - begun < STARTS_S
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("antiphon: ")
    return line.removeprefix("antiphon: ")


@pytest.fixture
def home(tmp_path):
    path = tmp_path / "home"
    path.mkdir(mode=0o700)
    return path


def script(path, text):
    connection = sqlite3.connect(path)
    connection.executescript(text)
    connection.close()


def read_only(home):
    script(home / "antiphon.db", "CREATE TABLE keys (id TEXT)")
    (home / "antiphon.db").chmod(0o400)
    return "antiphon.db cannot be opened: Permission denied"


def read_only_directory(home):
    script(home / "antiphon.db", FIRST_RELEASE)
    home.chmod(0o500)
    return "antiphon.db cannot be used"


def somebody_elses(home):
    script(home / "antiphon.db", "CREATE TABLE keys (id TEXT)")
    (home / "antiphon.db").chmod(0o600)
    if os.geteuid() != 0:
        pytest.skip("a file of another user is made by giving one away, which only root may; CI is root")
    os.chown(home / "antiphon.db", 12345, 12345)
    return "antiphon.db cannot be opened: Permission denied"


def a_directory(home):
    (home / "antiphon.db").mkdir()
    return "antiphon.db cannot be opened: Is a directory"


def garbage(home):
    (home / "antiphon.db").write_bytes(b"not a database at all " * 1_000)
    return "antiphon.db cannot be used: file is not a database"


def cut_short(home):
    script(home / "antiphon.db", "CREATE TABLE people (name TEXT); INSERT INTO people VALUES ('Ada');")
    whole = (home / "antiphon.db").read_bytes()
    (home / "antiphon.db").write_bytes(whole[:5_000])
    return "antiphon.db"


def a_link(home):
    script(home.parent / "elsewhere.db", "CREATE TABLE people (name TEXT)")
    (home / "antiphon.db").symlink_to(home.parent / "elsewhere.db")
    return "antiphon.db is a symbolic link"


def a_link_to_nothing(home):
    (home / "antiphon.db").symlink_to(home.parent / "elsewhere.db")
    return "antiphon.db is a symbolic link"


def newer(home):
    script(home / "antiphon.db", "CREATE TABLE keys (id TEXT); PRAGMA user_version = 99;")
    return "antiphon.db was written by a newer version of Antiphon (schema 99)"


def foreign(home):
    script(home / "antiphon.db", "CREATE TABLE people (name TEXT)")
    return "antiphon.db holds tables that are not Antiphon's"


def snapshot(folder):
    return {
        path: path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
        if path.suffix not in {".toml", ".db-wal", ".db-shm"}
    }


UNFIT = [
    *(read_only, read_only_directory, somebody_elses, a_directory, garbage, cut_short),
    *(a_link, a_link_to_nothing, newer, foreign),
]


@pytest.mark.parametrize("make", UNFIT, ids=lambda make: make.__name__.replace("_", " "))
def test_a_file_that_is_no_database_of_ours_is_refused_in_one_line_and_left_alone(home, make):
    expected = make(home)
    before = snapshot(home.parent)
    assert expected in refusal(home)
    assert snapshot(home.parent) == before


def test_a_server_does_not_start_on_what_is_refused(home):
    expected = newer(home)
    assert expected in refusal(home, command=("serve",))


def test_a_missing_directory_is_made_for_its_owner_alone_and_one_that_cannot_be_is_refused(home):
    (home / "file").touch()
    assert "cannot be opened" in refusal(home, "sqlite:///file/antiphon.db")
    home.chmod(0o500)
    assert "cannot be opened: Permission denied" in refusal(home, "sqlite:///none/antiphon.db")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody@127.0.0.1:1/none",
        "postgresql://u:secret@127.0.0.1:1/none?sslmode=require",
        "postgresql://u:secret@localhost:port/none",
        "postgresql://u:secret@[::1/none",
        "postgresql://u:secret@127.0.0.1:1/none?nonsense=1",
    ],
)
def test_an_address_where_no_postgresql_answers_is_one_line_without_its_password(home, url):
    said = refusal(home, url)
    assert "secret" not in said
    assert "postgresql" in said.lower()


def test_a_postgresql_that_refuses_us_says_why_in_one_line(home, postgres):
    url = postgres()
    assert "does not exist" in refusal(home, url.replace("/antiphon_", "/none_"), is_bound=False)
    assert "does not exist" in refusal(home, url.replace("postgres:@", "stranger:secret@"), is_bound=False)


@pytest.mark.anyio
async def test_a_database_may_have_any_name(home):
    """And it is the file of that name, of mode 0600, that is made."""
    for name in ("a b.db", "100%.db", "q?mode=ro.db", "h#ash.db", "ü.db", "a%20b.db"):
        async with open_database(f"sqlite:///{name}", home):
            pass
        (made,) = home.iterdir()
        assert (made.name, stat.S_IMODE(made.stat().st_mode)) == (name, 0o600)
        made.unlink()
