"""Files that clients put here, over both stores: each account its own, bounded, and gone when they expire."""

import contextlib
import resource
import select
import socket
import sqlite3
import time
from pathlib import Path
from urllib.parse import unquote

import httpx
import openai
import psutil
import pytest

from tests.conftest import serving, until
from tests.lives import kept_in, key_of
from tests.streams import CLIENT

BOUNDARY = "boundary7MA4"


def client(server, key=None):
    # Its connections are closed when an answer is read: an open one that is collected later fails another test.
    return openai.OpenAI(
        base_url=f"{server.url}/v1", api_key=key or server.key, max_retries=0, timeout=110, http_client=CLIENT
    )


def put(server, content=b"Hello from a file.", name="note.txt", **fields):
    return client(server).files.create(file=(name, content), purpose="user_data", **fields)


def form(*parts):
    """A form as it stands on the wire: (header lines, content) for each part."""
    body = b""
    for headers, content in parts:
        body += b"--" + BOUNDARY.encode() + b"\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n"
    return body + b"--" + BOUNDARY.encode() + b"--\r\n"


def field(name, content, extra=""):
    return f'Content-Disposition: form-data; name="{name}"{extra}', content


FILE = field("file", b"Hi", '; filename="a.txt"')
PURPOSE = field("purpose", b"user_data")


def send(server, body, kind=f"multipart/form-data; boundary={BOUNDARY}", **headers):
    answer = httpx.post(
        f"{server.url}/v1/files",
        content=body,
        headers={"content-type": kind} | server.headers | headers,
        timeout=30,
        verify=False,
    )
    assert answer.status_code < 500, answer.text
    return answer


@pytest.fixture(scope="module")
def other_key(pair):
    return key_of(pair[0], "other")


def test_a_file_is_put_found_listed_read_and_removed_by_any_process(pair):
    first, second = pair
    before = int(time.time())
    made = put(first, expires_after={"anchor": "created_at", "seconds": 3600})
    assert (made.object, made.bytes, made.filename, made.purpose) == ("file", 18, "note.txt", "user_data")
    assert before + 3600 <= made.expires_at <= time.time() + 3600
    assert client(second).files.retrieve(made.id) == made
    assert made.id in [one.id for one in client(second).files.list(purpose="user_data")]
    assert client(second).files.content(made.id).read() == b"Hello from a file."
    assert client(second).files.delete(made.id).deleted
    for gone in (client(first).files.retrieve, client(first).files.delete, client(first).files.content):
        with pytest.raises(openai.NotFoundError, match="no such file"):
            gone(made.id)


def test_a_list_is_read_in_pages_in_both_orders(kept):
    made = [put(kept, name=f"{number}.txt").id for number in range(5)]
    newest = [one.id for one in client(kept).files.list(limit=2, order="desc")][:5]
    oldest = [one.id for one in client(kept).files.list(limit=2, order="asc")]
    assert set(newest) == set(made)
    assert oldest == [one.id for one in client(kept).files.list(order="desc")][::-1]
    page = kept.get(f"/v1/files?limit=2&after={oldest[0]}&order=asc").json()
    assert ([one["id"] for one in page["data"]], page["has_more"]) == (oldest[1:3], len(oldest) > 3)
    assert (page["first_id"], page["last_id"]) == (oldest[1], oldest[2])
    assert kept.get("/v1/files?purpose=assistants").json()["data"] == []
    assert kept.get(f"/v1/files?after=file-{'0' * 32}").status_code == 404
    assert kept.get("/v1/files?limit=0").status_code == 422


def test_another_account_finds_nothing_of_it(kept, other_key):
    made = put(kept)
    theirs = client(kept, other_key)
    assert made.id not in [one.id for one in theirs.files.list()]
    for look in (theirs.files.retrieve, theirs.files.content, theirs.files.delete):
        with pytest.raises(openai.NotFoundError):
            look(made.id)
    message = {"role": "user", "content": [{"type": "file", "file": {"file_id": made.id}}]}
    with pytest.raises(openai.UnprocessableEntityError, match="no such file"):
        theirs.chat.completions.create(model="test/echo", messages=[message])
    assert client(kept).files.content(made.id).read() == b"Hello from a file."


def test_a_request_names_a_file_by_its_id(kept):
    made = put(kept, b"The password is swordfish.", "secret.txt")
    part = {"type": "file", "file": {"file_id": made.id}}
    answer = client(kept).chat.completions.create(
        model="test/echo", messages=[{"role": "user", "content": [part, {"type": "text", "text": "What is it?"}]}]
    )
    assert answer.choices[0].message.content == "secret.txt:\nThe password is swordfish.\nWhat is it?"
    part["file"]["file_id"] = f"file-{'0' * 32}"
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        client(kept).chat.completions.create(model="test/echo", messages=[{"role": "user", "content": [part]}])
    assert refused.value.body["detail"][0]["loc"] == ["body", "messages", 0, "content", 0]
    assert refused.value.code == "file_not_found"


@pytest.mark.parametrize("key", ["%00", "a%00b", "%FF", "file-%F0%9F%98%80", "x" * 3000])
def test_an_id_that_no_file_can_have_is_that_of_no_file(kept, key):
    for path in (f"/v1/files/{key}", f"/v1/files/{key}/content", f"/v1/files?after={key}"):
        assert kept.get(path).json()["error"]["code"] == "file_not_found"
    part = {"type": "file", "file": {"file_id": unquote(key)}}
    assert kept.chat("test/echo", [part]).json()["error"]["code"] == "file_not_found"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\\\temp\\\\a.txt", "a.txt"),
        ("a\x07b.txt", "ab.txt"),
        ("..", "file"),
        ("x" * 1000, "x" * 255),
        ("é ü.txt", "é ü.txt"),
    ],
)
def test_a_file_s_name_is_only_ever_shown(stage, name, shown):
    made = send(stage, form(field("file", b"Hi", f'; filename="{name}"'), PURPOSE))
    assert made.json()["filename"] == shown


BAD = {
    "no file": (form(PURPOSE), "file"),
    "no purpose": (form(FILE), "purpose"),
    "another purpose": (form(FILE, field("purpose", b"fine-tune")), "purpose"),
    "two files": (form(FILE, FILE, PURPOSE), "file"),
    "an unknown field": (form(FILE, PURPOSE, field("model", b"x")), "model"),
    "an empty file": (form(field("file", b"", '; filename="a"'), PURPOSE), "file"),
    "a wrong anchor": (form(FILE, PURPOSE, field("expires_after[anchor]", b"now")), "expires_after[anchor]"),
    "too short": (form(FILE, PURPOSE, field("expires_after[seconds]", b"5")), "expires_after[seconds]"),
    "no number": (form(FILE, PURPOSE, field("expires_after[seconds]", "٣".encode())), "expires_after[seconds]"),
    "a long field": (form(FILE, field("purpose", b"user_data" * 100)), "purpose"),
    "no name": (form(("Content-Disposition: form-data", b"x"), FILE, PURPOSE), "file"),
    "no disposition": (form(("X: y", b"x"), FILE, PURPOSE), "file"),
    "cut off": (form(FILE, PURPOSE)[:-30], "file"),
    "cut in a header": (form(FILE, PURPOSE)[:40], "file"),
    "nothing": (b"", "file"),
    "another boundary": (form(FILE, PURPOSE).replace(BOUNDARY.encode(), b"x"), "file"),
    "many parts": (form(*[field(f"f{number}", b"x") for number in range(50)], FILE, PURPOSE), "f0"),
    "long headers": (form(("Content-Disposition: form-data; name=" + "x" * 9000, b"x"), FILE, PURPOSE), "file"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_form_is_refused_by_its_field(stage, name):
    body, param = BAD[name]
    answer = send(stage, body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


def test_what_is_no_form_is_refused(stage):
    assert send(stage, b"{}", "application/json").status_code == 415
    assert send(stage, form(FILE, PURPOSE), "multipart/form-data").status_code == 415
    assert send(stage, form(FILE, PURPOSE), "multipart/mixed; boundary=" + BOUNDARY).status_code == 415
    packed = send(stage, form(FILE, PURPOSE), **{"content-encoding": "gzip"})
    assert packed.status_code == 415


def test_what_is_read_back_is_never_shown_as_a_page(stage):
    made = put(stage, b"<script>1</script>", "a.html")
    answer = stage.get(f"/v1/files/{made.id}/content")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_files_are_bounded_each_and_together(tmp_path):
    config = "[media]\nfile_bytes = 1000\naccount_files = 3\naccount_bytes = 2000\n" + kept_in("sqlite:///a.db")
    with serving(tmp_path, config) as server:
        with pytest.raises(openai.APIStatusError) as refused:
            put(server, b"x" * 1001)
        assert refused.value.status_code == 413
        assert send(server, b"x" * 40_000).status_code == 413
        put(server, b"x" * 1000)
        put(server, b"x" * 900)
        with pytest.raises(openai.BadRequestError, match="2000 bytes") as refused:
            put(server, b"x" * 200)
        assert (refused.value.code, refused.value.param) == ("file_quota_exceeded", "file")
        last = put(server, b"x" * 50)
        with pytest.raises(openai.BadRequestError, match="3 files") as refused:
            put(server, b"x")
        assert (refused.value.code, refused.value.param) == ("file_quota_exceeded", "file")
        client(server).files.delete(last.id)
        put(server, b"x")


def begin(server, size, sent):
    """Send the head of an upload of a file of `size` bytes and `sent` bytes of it; give the socket, and the rest."""
    whole = form(PURPOSE, field("file", b"x" * size, '; filename="a.bin"'))
    head = server.request_bytes(whole, "Connection: close", path="/v1/files")[: -len(whole)]
    head = head.replace(b"application/json", b"multipart/form-data; boundary=" + BOUNDARY.encode())
    link = socket.create_connection(("127.0.0.1", server.port))
    link.settimeout(20)
    link.sendall(head + whole[:sent])
    return link, whole[sent:]


def answer_of(link):
    return read_to_end(link).partition(b"\r\n\r\n")


def read_to_end(link):
    received = b""
    with contextlib.suppress(TimeoutError):
        while data := link.recv(65536):
            received += data
    return received


def test_what_arrives_of_many_large_files_lies_on_disk_and_not_in_memory(tmp_path):
    with serving(tmp_path, kept_in("sqlite:///a.db")) as server, contextlib.ExitStack() as stack:
        put(server, b"x" * 1_000_000)
        process = psutil.Process(server.process.pid)
        before = process.memory_info().rss
        begun = [begin(server, 15_000_000, 14_000_000) for _ in range(12)]
        for link, _ in begun:
            stack.enter_context(link)
        until(lambda: process.io_counters().write_chars > 160_000_000, 20)
        assert process.memory_info().rss - before < 60_000_000
        for link, rest in begun:
            link.sendall(rest)
        assert [answer_of(link)[0][:12] for link, _ in begun] == [b"HTTP/1.1 200"] * 12


def test_an_upload_that_becomes_too_much_is_answered_while_it_is_still_being_sent(tmp_path):
    config = "[media]\nfile_bytes = 4_000_000\naccount_bytes = 3_000_000\n" + kept_in("sqlite:///a.db")
    with serving(tmp_path, config) as server:
        put(server, b"x" * 1_000_000)
        link, _ = begin(server, 3_500_000, 2_500_000)
        with link:
            head, _, body = answer_of(link)
        assert head.startswith(b"HTTP/1.1 400")
        assert b"file_quota_exceeded" in body
        # What two send at the same time counts together.
        first, rest = begin(server, 1_500_000, 1_400_000)
        second, _ = begin(server, 1_500_000, 1_400_000)
        with first, second:
            answered = next(iter(select.select([first, second], [], [], 20)[0]))
            assert b"file_quota_exceeded" in answer_of(answered)[2]
            other = second if answered is first else first
            other.sendall(rest)
            assert other.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_client_that_sends_far_too_much_gets_to_read_why(tmp_path):
    with serving(tmp_path, "[media]\nfile_bytes = 1_000_000\n" + kept_in("sqlite:///a.db")) as server:
        body = form(PURPOSE, field("file", b"x" * 30_000_000, '; filename="a.bin"'))
        assert send(server, body).json()["error"]["code"] == "request_too_large"
        answer = send(server, (body[at : at + 65_536] for at in range(0, len(body), 65_536)))
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


def spools_of(process):
    """How many files without a name a process holds: what arrives lies in them."""
    links = []
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(link.readlink()))
    return sum(name.startswith("/") and name.endswith(" (deleted)") for name in links)


def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path):
    config = "[media]\naccount_bytes = 3_000_000\n" + kept_in("sqlite:///a.db")
    with serving(tmp_path, config) as server:
        process = psutil.Process(server.process.pid)
        for _ in range(3):
            link, _ = begin(server, 2_500_000, 2_400_000)
            until(lambda: spools_of(process) == 1)
            link.close()
            until(lambda: not spools_of(process))
        put(server, b"x" * 2_500_000)


def test_a_disk_without_room_is_said_to_be_one(tmp_path):
    with serving(tmp_path, kept_in("sqlite:///a.db")) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
        with pytest.raises(openai.APIStatusError) as refused:
            put(server, b"x" * 5_000_000)
        assert (refused.value.status_code, refused.value.code) == (503, "storage_unavailable")
        assert client(server).files.content(put(server).id).read() == b"Hello from a file."


def test_an_expired_file_is_gone_at_once_and_makes_room(tmp_path):
    config = "[media]\naccount_files = 1\n" + kept_in("sqlite:///a.db")
    with serving(tmp_path, config) as server:
        made = put(server)
        with sqlite3.connect(tmp_path / "a.db") as database:
            database.execute("UPDATE files SET expires = ?", (int(time.time()),))
        database.close()
        with pytest.raises(openai.NotFoundError):
            client(server).files.retrieve(made.id)
        assert list(client(server).files.list()) == []
        put(server)
        assert len(list(client(server).files.list())) == 1


def test_files_need_no_record_of_predictions_to_be_kept_and_removed(tmp_path):
    config = "[store]\nrecord = false\nurl = 'sqlite:///a.db'\n"
    with serving(tmp_path, config) as server:
        assert client(server).files.content(put(server).id).read() == b"Hello from a file."
    with contextlib.closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("UPDATE files SET expires = 1")
        database.commit()
        with serving(tmp_path, config):
            until(lambda: database.execute("SELECT count(*) FROM files").fetchone() == (0,))
