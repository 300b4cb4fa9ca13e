"""Files in OpenAI's form: an upload read as it comes, and what is said of one.

Source: the OpenAI API's specification 2.3.0: `POST /v1/files` takes multipart/form-data with `file`, `purpose` and
`expires_after[seconds]`; a list has `first_id`, `last_id` and `has_more`.
"""

import re
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from antiphon.domain.errors import InvalidRequest, UnsupportedMediaType
from antiphon.domain.faults import FieldFault
from antiphon.domain.files import PURPOSE, File

FIELD_BYTES = 256
"""The longest value of any field but `file`."""
NAME_CHARS = 255
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
SECONDS_RANGE = (3_600, 2_592_000)
_FIELDS = frozenset({"file", "purpose", ANCHOR, SECONDS})


@dataclass(frozen=True, slots=True)
class Upload:
    """What a form says of its file."""

    filename: str
    expires_after_s: int | None


class UploadReader:
    """Reads a form as it comes: the file's content is passed on at once, all else is small and kept."""

    def __init__(self, content_type: bytes, sink: Callable[[bytes], object]) -> None:
        """Begin.

        Args:
            content_type: the request's.
            sink: takes the file's content, piece by piece.

        Raises:
            UnsupportedMediaType: it is no form of several parts.
            InvalidRequest: its boundary is too long.
        """
        kind, options = parse_options_header(content_type)
        if kind != b"multipart/form-data" or not options.get(b"boundary"):
            raise UnsupportedMediaType("Send the file as multipart/form-data.")
        self.size = 0
        """How much of the file there was."""
        self._sink = sink
        self._values: dict[str, bytearray] = {}
        self._filename = b""
        self._is_whole = False
        self._part = ""
        self._headers: dict[bytes, bytes] = {}
        self._header, self._value = bytearray(), bytearray()
        with _readable():
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())

    def feed(self, data: bytes) -> None:
        """Read on.

        Raises:
            InvalidRequest: a field is unknown, twice or too long, or it is no form.
        """
        with _readable():
            self._parser.write(data)

    def finish(self) -> Upload:
        """Give what was read, when no more will come.

        Raises:
            InvalidRequest: the form is cut off, or a field is missing or wrong.
        """
        with _readable():
            self._parser.finalize()
        if not self._is_whole:
            _refuse("file", "The form is cut off.")
        values = {name: bytes(value).decode("utf-8", "replace") for name, value in self._values.items()}
        for name in ("file", "purpose"):
            if name not in values:
                _refuse(name, "Field required", "missing", "missing_required_parameter")
        if values["purpose"] != PURPOSE:
            _refuse("purpose", f"Should be '{PURPOSE}'.")
        if not self.size:
            _refuse("file", "It is empty.")
        return Upload(_shown(self._filename.decode("utf-8", "replace")), _expiry(values))

    def _callbacks(self) -> Any:
        return {
            "on_part_begin": self._headers.clear,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._begin_part,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _end_header(self) -> None:
        self._headers[bytes(self._header).lower()] = bytes(self._value)
        self._header.clear()
        self._value.clear()

    def _begin_part(self) -> None:
        disposition, named = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = named.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or not name:
            _refuse("file", "A field has no name.")
        if name not in _FIELDS:
            _refuse(name[:64], "There is no such field.", "extra_forbidden", "unknown_parameter")
        if name in self._values:
            _refuse(name, "It is there twice.")
        self._part, self._values[name] = name, bytearray()
        if name == "file":
            self._filename = named.get(b"filename", b"")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "file":
            self.size += end - start
            self._sink(data[start:end])
            return
        value = self._values[self._part]
        value += data[start:end]
        if len(value) > FIELD_BYTES:
            _refuse(self._part, f"At most {FIELD_BYTES} bytes.", "too_long", "string_above_max_length")

    def _end(self) -> None:
        self._is_whole = True


@contextmanager
def _readable() -> Generator[None]:
    """What the parser finds wrong, in our words."""
    try:
        yield
    except FormParserError:
        _refuse("file", "The form cannot be read.")


def _shown(name: str) -> str:
    """A file's name as it may be shown: without the folders it may have come with, and printable."""
    shown = "".join(char for char in re.split(r"[/\\]", name)[-1] if char.isprintable()).strip(". ")
    return shown[:NAME_CHARS] or "file"


def _expiry(values: dict[str, str]) -> int | None:
    if values.get(ANCHOR, "created_at") != "created_at":
        _refuse(ANCHOR, "Should be 'created_at'.")
    given = values.get(SECONDS)
    if given is None:
        return None
    least, most = SECONDS_RANGE
    if not re.fullmatch(r"[0-9]{1,9}", given, re.ASCII) or not least <= int(given) <= most:
        _refuse(SECONDS, f"Should be a whole number from {least} to {most}.")
    return int(given)


def _refuse(name: str, msg: str, kind: str = "value_error", code: str = "invalid_value") -> None:
    raise InvalidRequest((FieldFault(("body", name), msg, kind, code),))


def file_body(file: File) -> bytes:
    """Give one file."""
    return orjson.dumps(_file(file))


def files_body(files: Iterable[File], *, has_more: bool) -> bytes:
    """Give a part of the list of files."""
    data = [_file(file) for file in files]
    ends = {"first_id": data[0]["id"] if data else None, "last_id": data[-1]["id"] if data else None}
    return orjson.dumps({"object": "list", "data": data, **ends, "has_more": has_more})


def deleted_file(file_id: str) -> bytes:
    """Say that a file is gone."""
    return orjson.dumps({"id": file_id, "object": "file", "deleted": True})


def _file(file: File) -> dict[str, Any]:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created,
        "expires_at": file.expires,
        "filename": file.filename,
        "purpose": PURPOSE,
        "status": "processed",
        "status_details": None,
    }
