"""Files in OpenAI's form: an upload read, and what is said of one.

Source: the OpenAI API's specification 2.3.0: `POST /v1/files` takes multipart/form-data with `file`, `purpose` and
`expires_after[seconds]`; a list has `first_id`, `last_id` and `has_more`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from antiphon.domain.errors import FieldFault, InvalidRequest, UnsupportedMediaType
from antiphon.domain.files import PURPOSE, File

FIELD_BYTES = 256
"""The longest value of any field but `file`."""
MOST_PARTS = 8
NAME_CHARS = 255
ANCHOR, SECONDS = "expires_after[anchor]", "expires_after[seconds]"
SECONDS_RANGE = (3_600, 2_592_000)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that is put here."""

    filename: str
    content: bytes
    expires_after_s: int | None


@dataclass(slots=True)
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    data: bytearray = field(default_factory=bytearray)


class _Reader:
    """Takes the parser's events; knows the parts."""

    def __init__(self) -> None:
        self.parts: list[_Part] = []
        self.is_whole = False
        self._name, self._value = bytearray(), bytearray()

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._name.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._header,
            "on_part_data": lambda data, start, end: self.parts[-1].data.extend(data[start:end]),
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.parts) == MOST_PARTS:
            _refuse("file", f"At most {MOST_PARTS} fields.")
        self.parts.append(_Part())

    def _header(self) -> None:
        self.parts[-1].headers[bytes(self._name).lower()] = bytes(self._value)
        self._name.clear()
        self._value.clear()

    def _end(self) -> None:
        self.is_whole = True


def read_upload(body: bytes, content_type: bytes | None) -> Upload:
    """Read an upload.

    Raises:
        UnsupportedMediaType: it is no form of several parts.
        InvalidRequest: it is cut off, or a field is missing, unknown, twice or wrong.
    """
    fields = _fields(body, content_type)
    for name in fields:
        if name not in {"file", "purpose", ANCHOR, SECONDS}:
            _refuse(name[:64], "There is no such field.", "extra_forbidden", "unknown_parameter")
        if name != "file" and len(fields[name].data) > FIELD_BYTES:
            _refuse(name, f"At most {FIELD_BYTES} bytes.", "too_long", "string_above_max_length")
    values = {name: part.data.decode("utf-8", "replace") for name, part in fields.items() if name != "file"}
    for name in ("file", "purpose"):
        if name not in fields:
            _refuse(name, "Field required", "missing", "missing_required_parameter")
    if values["purpose"] != PURPOSE:
        _refuse("purpose", f"Should be '{PURPOSE}'.")
    content = bytes(fields["file"].data)
    if not content:
        _refuse("file", "It is empty.")
    return Upload(_name_of(fields["file"]), content, _expiry(values))


def _fields(body: bytes, content_type: bytes | None) -> dict[str, _Part]:
    kind, options = parse_options_header(content_type or b"")
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise UnsupportedMediaType("Send the file as multipart/form-data.")
    reader = _Reader()
    try:
        parser = MultipartParser(options[b"boundary"], reader.callbacks())
        parser.write(body)
        parser.finalize()
    except FormParserError:
        _refuse("file", "The form cannot be read.")
    if not reader.is_whole:
        _refuse("file", "The form is cut off.")
    fields: dict[str, _Part] = {}
    for part in reader.parts:
        disposition, named = parse_options_header(part.headers.get(b"content-disposition", b""))
        name = named.get(b"name", b"").decode("utf-8", "replace")
        if disposition != b"form-data" or not name:
            _refuse("file", "A field has no name.")
        if name in fields:
            _refuse(name[:64], "It is there twice.")
        fields[name] = part
    return fields


def _name_of(part: _Part) -> str:
    """A file's name as it may be shown: without the folders it may have come with, and printable."""
    _, named = parse_options_header(part.headers[b"content-disposition"])
    name = named.get(b"filename", b"").decode("utf-8", "replace")
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
