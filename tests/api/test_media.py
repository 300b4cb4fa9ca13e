"""What requests carry beside text: taken in whole, or refused by its place before anything too large is decoded.

Groups MEDIA and SSRF. The model says back what it was given: `[image:40x30:checksum]` in its place.
"""

import base64
import contextlib
import io
import json
import re
import socket
import struct
import threading
import time
import zlib
from functools import partial
from urllib.parse import quote, unquote

import anyio
import av
import numpy as np
import psutil
import pytest
import soundfile
from PIL import Image

from tests.conftest import serving, until
from tests.outbound.conftest import canary

SUPPORTED = "Not a supported image: PNG, JPEG, WebP or GIF."


def encoded(image, form, **options):
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def picture(width=40, height=30, mode="RGB", colour="red"):
    return Image.new(mode, (width, height), colour)


def image_part(data, mime="image/png", **fields):
    url = data if isinstance(data, str) else f"data:{mime};base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url, **fields}}


def sound_part(data, form="wav"):
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}


def file_part(data, mime="application/pdf", **fields):
    return {"type": "file", "file": {"file_data": f"data:{mime};base64,{base64.b64encode(data).decode()}", **fields}}


def ask(server, *parts, model="test/sees", **fields):
    return server.chat(model, list(parts), **fields)


def said(server, *parts, **fields):
    answer = ask(server, *parts, **fields)
    assert answer.status_code == 200, answer.text
    return answer.json()["choices"][0]["message"]["content"]


def refusal(server, part, **fields):
    """The one finding about a part that is refused; it must name its place, and nothing of what lies behind."""
    answer = ask(server, {"type": "text", "text": "See:"}, part, **fields)
    assert answer.status_code == 422, answer.text
    assert not re.search(r"0x[0-9a-f]{6}|PIL|/usr|/tmp|Traceback|av\.|pdfium", answer.text)
    (finding,) = answer.json()["detail"]
    assert finding["loc"][:5] == ["body", "messages", 0, "content", 1]
    assert answer.json()["error"]["param"] == "messages[0].content[1]"
    return finding["msg"]


def size(text):
    width, height = re.search(r"\[image:(\d+)x(\d+):", text).groups()
    return int(width), int(height)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_picture_of_every_kind_reaches_the_model_in_its_place(stage, form):
    part = image_part(encoded(picture(), form), f"image/{form.lower()}")
    text = said(stage, {"type": "text", "text": "a"}, part, {"type": "text", "text": "b"})
    assert re.fullmatch(r"a\[image:40x30:[0-9a-f]{8}\]\nb", text)


def test_several_pictures_keep_their_order_between_the_words(stage):
    red, blue = (image_part(encoded(picture(colour=colour), "PNG")) for colour in ("red", "blue"))
    both = said(stage, red, {"type": "text", "text": "then"}, blue)
    one, other = re.findall(r"\[image:40x30:([0-9a-f]{8})\]", both)
    assert one != other
    assert said(stage, blue, {"type": "text", "text": "then"}, red) == f"[image:40x30:{other}]then[image:40x30:{one}]"


@pytest.mark.parametrize(
    ("detail", "expected"), [("low", (512, 384)), ("high", (1024, 768)), ("auto", (1024, 768)), (None, (1024, 768))]
)
def test_detail_bounds_the_size(stage, detail, expected):
    part = image_part(encoded(picture(2000, 1500), "JPEG"), "image/jpeg", **({"detail": detail} if detail else {}))
    assert size(said(stage, part)) == expected


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(1, 1), "PNG"),
        encoded(picture(1, 20_000), "PNG"),
        encoded(picture(mode="CMYK", colour=(0, 255, 255, 0)), "JPEG"),
        encoded(Image.fromarray(np.full((30, 40), 40_000, np.uint16)), "PNG"),
        encoded(picture(mode="RGBA", colour=(255, 0, 0, 100)), "PNG"),
        encoded(picture(mode="L", colour=7), "PNG"),
        encoded(picture(mode="1", colour=1), "PNG"),
        encoded(picture(mode="P", colour=3), "GIF"),
        encoded(picture(), "PNG", save_all=True, append_images=[picture(colour="blue")] * 5),
        encoded(picture(), "WEBP", save_all=True, append_images=[picture(colour="blue")] * 5),
        encoded(picture(), "GIF", save_all=True, append_images=[picture(colour="blue")] * 5),
    ],
    ids=[
        "1x1",
        "1x20000",
        "cmyk",
        "16-bit",
        "alpha",
        "grey",
        "bits",
        "palette",
        "apng",
        "animated-webp",
        "animated-gif",
    ],
)
def test_an_odd_picture_is_seen_by_its_first_frame(stage, data):
    assert min(size(said(stage, image_part(data)))) >= 1


def test_what_is_transparent_is_white(stage):
    clear = encoded(Image.new("RGBA", (8, 8), (0, 0, 0, 0)), "PNG")
    white = encoded(Image.new("RGB", (8, 8), "white"), "PNG")
    assert said(stage, image_part(clear)) == said(stage, image_part(white))


def test_a_picture_stands_upright_as_its_camera_noted(stage):
    exif = Image.Exif()
    exif[0x0112] = 6
    assert size(said(stage, image_part(encoded(picture(), "JPEG", exif=exif)))) == (30, 40)


def png_of(width, height):
    """A PNG that is small as a file: its rows are zeros."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    packer, rows = zlib.compressobj(9), b""
    for _ in range(height):
        rows += packer.compress(bytes(1 + width // 8))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", rows + packer.flush()) + chunk(b"IEND", b"")


def long_gif(frames):
    one = encoded(picture(2, 2), "GIF")
    body = one[13 + 3 * 2 ** ((one[10] & 7) + 1) : -1]
    return one[: len(one) - 1 - len(body)] + body * frames + b";"


def wav(rate=16_000, channels=1, length=None, samples=1_600):
    data = bytes(2 * samples)
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * channels * 2, channels * 2, 16)
    claimed = len(data) if length is None else length
    body = b"WAVE" + b"fmt " + struct.pack("<I", 16) + form + b"data" + struct.pack("<I", claimed) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


BOMBS = {
    "144 megapixels in 17.6 KB": image_part(png_of(12_000, 12_000)),
    "400 megapixels": image_part(png_of(20_000, 20_000)),
    "ten hours": sound_part(wav(length=2 * 16_000 * 36_000)),
    "1,000 channels": sound_part(wav(channels=1_000)),
    "1 GHz": sound_part(wav(rate=1_000_000_000)),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_by_its_header_at_no_cost(stage, name):
    refusal(stage, image_part(b"x" * 100))  # the first of its kind loads what the others need
    process = psutil.Process(stage.process.pid)
    before, took = process.memory_info().rss, []
    for _ in range(3):
        begun = time.monotonic()
        assert refusal(stage, BOMBS[name]) in {
            "An image has at most 16 million pixels.",
            "A sound lasts at most 25 minutes.",
            "A sound has from 1 to 8 channels.",
            "A sound has from 4000 to 384000 samples a second.",
        }, "only a header's own judge says so"
        took.append(time.monotonic() - begun)
    assert min(took) < 0.3  # 100 ms on a machine that does nothing else
    assert process.memory_info().rss - before < 20 << 20
    assert not [child for child in process.children() if child.memory_info().rss > 400 << 20]


def test_a_gif_of_ten_thousand_frames_costs_one(stage):
    data = long_gif(10_000)
    said(stage, image_part(encoded(picture(), "PNG")))
    begun = time.monotonic()
    assert size(said(stage, image_part(data, "image/gif"))) == (2, 2)
    assert time.monotonic() - begun < 2


@pytest.mark.parametrize(
    "data",
    [
        b"not an image",
        b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>",
        b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(100),
        b"8BPS\0\x01" + bytes(100),
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        encoded(picture(), "TIFF"),
        encoded(picture(), "BMP"),
        b"%PDF-1.7\n" + encoded(picture(), "PNG"),
    ],
    ids=["text", "svg", "jpeg2000", "psd", "eps", "tiff", "bmp", "polyglot"],
)
def test_what_is_no_picture_of_ours_is_refused_in_one_sentence(stage, data):
    assert refusal(stage, image_part(data)) == SUPPORTED


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.effect_noise((200, 200), 50).convert("RGB"), form)[:cut]
        for form in ("PNG", "JPEG", "WEBP", "GIF")
        for cut in (24, 700, 5_000)
    ],
)
def test_a_picture_that_is_cut_off_is_refused_or_seen_and_the_server_goes_on(stage, data):
    answer = ask(stage, image_part(data))
    assert answer.status_code in {200, 422}
    assert said(stage, image_part(encoded(picture(), "PNG")))


def test_a_picture_of_no_pixels_is_refused(stage):
    data = bytearray(encoded(picture(), "PNG"))
    data[16:24] = bytes(8)
    assert "from 1 to" in refusal(stage, image_part(bytes(data)))


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,!!!!",
        "data:image/png;base64,",
        "data:image/png;base64,AAA",
        "data:image/png,%89PNG",
        "data:text/html;base64,PGI+",
        "data:video/jpeg;base64,AAAA,AAAA",
        "data:;base64,AAAA",
        "data:image/svg+xml;base64,AAAA",
        "data:",
        "file:///etc/passwd",
        "ftp://example.com/a.png",
        "gopher://example.com",
        "unix:/run/a.sock",
        "HTTP://example.com/a.png",
        "/etc/passwd",
        "https://example.com/a.png",
        "x",
    ],
)
def test_a_url_that_is_no_picture_is_refused_by_its_place(stage, url):
    refusal(stage, image_part(url))


def test_seventeen_pictures_are_one_too_many(stage):
    answer = ask(stage, *[image_part(encoded(picture(2, 2), "PNG"))] * 17)
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == "messages"


def test_a_text_model_refuses_a_picture_by_name(stage):
    answer = ask(stage, image_part(encoded(picture(), "PNG")), model="test/echo")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages[0].content[0]"


def flac(samples, rate=16_000, **options):
    out = io.BytesIO()
    soundfile.write(out, samples, rate, format="FLAC", **options)
    return out.getvalue()


TONE = np.sin(np.arange(16_000) / 8).astype(np.float32) / 4


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "OPUS", "M4A", "AAC"])
def test_a_sound_of_every_kind_is_heard_at_its_length(stage, form):
    out = io.BytesIO()
    if form in {"M4A", "AAC"}:
        with av.open(out, "w", format="ipod" if form == "M4A" else "adts") as container:
            stream = container.add_stream("aac", rate=16_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(TONE[None], "flt", "mono")
            frame.sample_rate = 16_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        kind, subtype = ("OGG", "OPUS") if form == "OPUS" else (form, None)
        soundfile.write(out, TONE, 16_000, format=kind, subtype=subtype)
    name = {"OPUS": "opus", "M4A": "m4a"}.get(form, form.lower())
    (seconds,) = re.findall(r"\[sound:([\d.]+)s:", said(stage, sound_part(out.getvalue(), name)))
    assert float(seconds) == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize(
    "data",
    [
        b"no sound at all",
        wav(samples=0),
        wav(channels=0),
        wav()[:40],
        flac(TONE)[:30],
        b"fLaC" + bytes(10),
        b"OggS" + bytes(100),
        b"ID3" + bytes(1000),
        b"\xff\xfb\x90\x00" + bytes(2000),
        b"\0\0\0\x20ftypM4A " + bytes(200),
        encoded(picture(), "PNG"),
    ],
    ids=["text", "empty", "no-channels", "cut-wav", "cut-flac", "flac", "ogg", "id3", "mp3", "m4a", "png"],
)
def test_what_is_no_sound_is_refused_in_one_sentence(stage, data):
    refusal(stage, sound_part(data))


@pytest.mark.parametrize("length", [0, 0x7FFF_F000, 0x7FFF_FFDB, 0x8000_0000, 0xFFFF_FFFF])
def test_a_wav_from_a_pipe_is_heard_whatever_its_writer_put_for_a_length_it_did_not_know(stage, length):
    assert "[sound:0.10s:" in said(stage, sound_part(wav(length=length)))


def test_what_stands_between_and_behind_an_mp3_s_frames_is_skipped(stage):
    out = io.BytesIO()
    soundfile.write(out, TONE, 16_000, format="MP3")
    tag = b"ID3\x04\0\0\0\0\x07\x68" + bytes(1000)
    for between in (tag, b"", bytes(500)):
        data = tag + out.getvalue() + between + out.getvalue() + bytes(1000)
        (seconds,) = re.findall(r"\[sound:([\d.]+)s:", said(stage, sound_part(data, "mp3")))
        assert float(seconds) == pytest.approx(2.0, abs=0.3)


def test_a_sound_whose_header_says_less_than_there_is_is_bounded_while_it_is_decoded(stage):
    """Forty minutes of silence are a small FLAC, and its header may say that its length is not known."""
    data = bytearray(flac(np.zeros(16_000 * 40 * 60, np.int16)))
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    assert len(data) < 3_000_000
    assert "25 minutes" in refusal(stage, sound_part(bytes(data), "flac"))


PDF = (
    b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj 2 0 obj<</Type/Pages/Kids[3 0 R]/Count 1>>endobj "
    b"3 0 obj<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 100]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>endobj "
    b"4 0 obj<</Length 44>>stream\nBT /F 18 Tf 10 50 Td (Hello from paper) Tj ET\nendstream endobj "
    b"5 0 obj<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>endobj trailer<</Root 1 0 R>>"
)


LOCK = b"<</Filter/Standard/V 1/R 2/P -4/O<" + b"11" * 32 + b">/U<" + b"22" * 32 + b">>>"
LOCKED = PDF.replace(b"trailer<<", b"trailer<</ID[<00><00>]/Encrypt" + LOCK)


def test_a_paper_is_read_as_text_and_seen_page_by_page(stage):
    text = said(stage, {"type": "text", "text": "Read:"}, file_part(PDF, filename="note.pdf"))
    assert re.fullmatch(r"Read:\nnote\.pdf:\nHello from paper\[image:768x384:[0-9a-f]{8}\]", text)
    assert said(stage, file_part(PDF), model="test/echo") == "Hello from paper"


def test_a_text_file_is_read_as_it_is(stage):
    part = file_part("a = 1\nb = 'é'".encode(), "text/x-python", filename="m.py")
    assert said(stage, part, {"type": "text", "text": "What is b?"}, model="test/echo") == (
        "m.py:\na = 1\nb = 'é'\nWhat is b?"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"%PDF-1.7 and nothing",
        PDF[:200],
        LOCKED,
        b"\xff\xfe\x00binary",
        b"PK\x03\x04" + bytes(50),
        b"a\0b",
    ],
    ids=["bare", "cut", "encrypted", "binary", "zip", "nul"],
)
def test_a_file_that_cannot_be_read_is_refused(stage, data):
    refusal(stage, file_part(data), model="test/echo")


@pytest.mark.parametrize("before", [b"\n", b"\xef\xbb\xbf", b"  \r\n"])
def test_blanks_before_a_paper_do_not_make_it_a_text(stage, before):
    assert said(stage, file_part(before + PDF), model="test/echo") == "Hello from paper"


@pytest.mark.parametrize("data", [PDF.replace(b"Hello from paper", b""), b" \n", b"\xef\xbb\xbf"])
def test_a_file_of_which_a_model_would_get_nothing_is_refused(stage, data):
    assert "no text" in refusal(stage, file_part(data), model="test/echo")


def test_a_paper_of_a_million_pages_is_refused(stage):
    many = PDF.replace(b"[3 0 R]/Count 1", b"[" + b"3 0 R " * 100_000 + b"]/Count 1000000")
    begun = time.monotonic()
    answer = ask(stage, file_part(many), model="test/echo")
    assert answer.status_code in {200, 422}
    assert time.monotonic() - begun < 15


@pytest.mark.parametrize("file", [{}, {"file_data": "aGk=", "file_id": "file-1"}, {"file_id": "../../etc/passwd"}])
def test_a_file_is_given_in_one_way(stage, file):
    refusal(stage, {"type": "file", "file": file}, model="test/echo")


@pytest.fixture(scope="module")
def fetches(tmp_path_factory):
    """A server that fetches from public addresses."""
    config = """
[media]
fetch = true
[models."test/sees"]
[[models."test/sees".versions]]
number = 1
engine = "scripted"
script = { echo = true, senses = ["image_url"] }
"""
    with serving(tmp_path_factory.mktemp("fetches"), config) as server:
        yield server


WAYS = """
http://127.0.0.1:{} http://localhost:{} http://localhost.:{} http://0.0.0.0:{} http://0:{} http://127.1:{}
http://0x7f.1:{} http://2130706433:{} http://0177.0.0.1:{} http://１２７.0.0.1:{} http://⑫7.0.0.1:{} http://[::]:{}
http://[::1]:{} http://[::ffff:127.0.0.1]:{} http://[64:ff9b::7f00:1]:{} http://[2002:7f00:1::]:{} http://[::127.0.0.1]:{}
http://[fe80::1%25lo]:{} http://[fec0::1]:{} http://169.254.169.254 http://10.0.0.1 http://172.16.0.1 http://192.168.0.1
http://100.64.0.1 http://168.63.129.16 http://224.0.0.1 http://ok.test\\@127.0.0.1:{} http://ok.test#@127.0.0.1:{}
http://user@127.0.0.1:{} https://127.0.0.1:{} http://127.0.0.1:22 http://127.0.0.1:5432 http://nowhere.invalid
"""


@pytest.mark.anyio
async def test_the_canary_sings_where_private_addresses_are_fetched(near):
    async with canary() as bird:
        part = image_part(f"http://127.0.0.1:{bird.port}/a.png")
        await anyio.to_thread.run_sync(partial(refusal, near, part))
        assert bird.dials >= 1


@pytest.mark.anyio
async def test_no_way_of_writing_a_private_address_is_dialled_and_all_are_refused_alike(fetches):
    async with canary() as bird:

        async def ask_by(way):
            # In a thread: the canary sings in this loop.
            part = image_part(way.format(bird.port) + "/a.png")
            return await anyio.to_thread.run_sync(partial(refusal, fetches, part))

        told = {await ask_by(way) for way in WAYS.split()}
        assert told == {"This URL cannot be fetched."}
        assert bird.dials == 0


ANSWERS = {
    "redirect": b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/ok\r\nContent-Length: 0\r\n\r\n",
    "missing": b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n",
    "packed": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    "short": b"HTTP/1.1 200 OK\r\nContent-Length: 999999\r\n\r\n\x89PNG",
    "large": b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + encoded(picture(), "PNG").ljust(300_000, b"\0"),
    "none": b"",
    "no http": b"SSH-2.0-OpenSSH_9.2\r\n",
}


class Site(threading.Thread):
    """Answers each path with the bytes of that name, and notes what it was asked."""

    def __init__(self, picture):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.picture, self.asked = picture, []
        self.start()

    def run(self):
        with contextlib.suppress(OSError):
            while True:
                link, _ = self.listener.accept()
                threading.Thread(target=self.answer, args=(link,), daemon=True).start()

    def answer(self, link):
        with link, contextlib.suppress(OSError):
            head = link.recv(65536).decode()
            self.asked.append(head)
            name = unquote(head.split(" ")[1].removeprefix("/"))
            if name == "ok":
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(self.picture) + self.picture)
            elif name == "drip":
                link.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
                while True:
                    link.sendall(b"x")
                    time.sleep(0.5)
            else:
                link.sendall(ANSWERS[name].replace(b"{port}", str(self.port).encode()))


@pytest.fixture(scope="module")
def site():
    site = Site(encoded(picture(), "PNG"))
    yield site
    site.listener.close()


@pytest.fixture(scope="module")
def near(tmp_path_factory):
    """A server that fetches from this machine too, where its tests can answer it."""
    config = """
[media]
fetch = true
fetch_private = true
fetch_bytes = 100_000
[models."test/sees"]
slots = 64
[[models."test/sees".versions]]
number = 1
engine = "scripted"
script = { echo = true, senses = ["image_url"] }
[models."test/few"]
slots = 1
queue = 1
[[models."test/few".versions]]
number = 1
engine = "scripted"
script = { echo = true, senses = ["image_url"] }
"""
    proxy = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    with serving(tmp_path_factory.mktemp("near"), config, **proxy) as server:
        yield server


def test_a_picture_is_fetched_where_that_is_allowed_and_its_server_is_told_nothing(near, site):
    assert size(said(near, image_part(f"http://127.0.0.1:{site.port}/ok"))) == (40, 30)
    asked = site.asked[-1].lower()
    assert "authorization" not in asked
    assert "cookie" not in asked
    assert near.key not in asked


@pytest.mark.parametrize("name", ANSWERS)
def test_what_answers_in_another_way_is_refused_and_no_redirect_followed(near, site, name):
    site.asked.clear()
    assert refusal(near, image_part(f"http://127.0.0.1:{site.port}/{quote(name)}")) == "This URL cannot be fetched."
    # aiohttp asks again, once, where a connection closes without an answer.
    assert len(site.asked) == (2 if name == "none" else 1)


def test_a_body_that_drips_is_given_up_within_ten_seconds(near, site):
    begun = time.monotonic()
    assert refusal(near, image_part(f"http://127.0.0.1:{site.port}/drip")) == "This URL cannot be fetched."
    assert 9 < time.monotonic() - begun < 13


def test_no_more_requests_take_pictures_in_than_could_run_or_wait(near, site):
    slow = image_part(f"http://127.0.0.1:{site.port}/drip")
    body = {"model": "test/few", "messages": [{"role": "user", "content": [slow]}]}
    site.asked.clear()
    with near.open_chat(body), near.open_chat(body):
        until(lambda: len(site.asked) == 2)
        answer = ask(near, slow, model="test/few")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "queue_full")
        assert len(site.asked) == 2
        assert near.chat("test/few", "Text waits for nobody's pictures.").status_code == 200
    shown = image_part(encoded(picture(), "PNG"))
    until(lambda: ask(near, shown, model="test/few").status_code == 200)


@pytest.mark.parametrize("field", ["api_base", "base_url", "api_key", "extra_headers", "headers"])
def test_no_field_names_another_server(fetches, field):
    """SSRF-10."""
    body = {"model": "test/sees", "messages": [{"role": "user", "content": "Hi"}], field: "http://127.0.0.1:9"}
    answer = fetches.post(json.dumps(body), headers={"prefer": "handling=strict"})
    assert answer.status_code == 422
    assert answer.json()["error"]["param"] == field
