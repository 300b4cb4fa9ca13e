"""What is read of a request's head before it is a request: its target, and whether it may be answered at all."""

import re
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import TypedDict
from urllib.parse import unquote

import httptools

from antiphon.domain.errors import AntiphonError, HeadersTooLarge, MalformedHttp

HEADER_COUNT = 100
HEADER_BYTES = 65_536
TARGET_BYTES = 8_192

_HOST = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PLAIN = re.compile(rb"/[A-Za-z0-9._/-]*")
"""A target that is a path, and stands for itself."""
_UPGRADE = re.compile(rb"\r\nupgrade[ \t]*:", re.IGNORECASE)

Header = tuple[bytes, bytes]


def without_upgrade(data: bytes) -> bytes:
    """Rename the Upgrade header of a request's head: this server ignores it, the parser would stop reading for it.

    `curl --http2` sends one with every request. A head in two pieces with the name across the cut is not covered.
    """
    if b"pgrade" not in data and b"PGRADE" not in data:
        return data
    head, end, rest = data.partition(b"\r\n\r\n")
    return _UPGRADE.sub(rb"\r\nx-upgrade:", head) + end + rest


def judged(
    target: bytes, headers: Sequence[Header], first: Mapping[bytes, bytes], version: str
) -> AntiphonError | None:
    """Give what is wrong with a head, if anything is.

    Args:
        target: what is asked for, as it was sent.
        headers: all there are, their names in lower case.
        first: the first of each name.
        version: HTTP's.
    """
    if len(target) > TARGET_BYTES:
        return HeadersTooLarge(f"The request target is longer than {TARGET_BYTES} bytes.")
    if len(headers) > HEADER_COUNT or sum(map(len, chain.from_iterable(headers))) > HEADER_BYTES:
        return HeadersTooLarge(f"At most {HEADER_COUNT} headers of {HEADER_BYTES} bytes in all are read.")
    names = [name for name, _ in headers] if len(first) < len(headers) else ()
    host = first.get(b"host")
    if host is None and version == "1.1":
        return MalformedHttp("The Host header is missing.")
    if names.count(b"host") > 1 or (host is not None and not _HOST.fullmatch(host)):
        return MalformedHttp("The Host header is malformed.")
    if names.count(b"authorization") > 1:
        return MalformedHttp("There is more than one Authorization header.")
    return None


class Target(TypedDict):
    """What a request asks for, as ASGI has it."""

    path: str
    raw_path: bytes
    query_string: bytes


def target_of(target: bytes) -> Target:
    """Give the parts of a target.

    Raises:
        HttpParserError: it is no URL.
        UnicodeDecodeError: it is not ASCII.
    """
    if _PLAIN.fullmatch(target):
        return {"path": target.decode("ascii"), "raw_path": target, "query_string": b""}
    url = httptools.parse_url(target)
    path = unquote(url.path.decode("ascii"))
    return {"path": path, "raw_path": url.path, "query_string": url.query or b""}
