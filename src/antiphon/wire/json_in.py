"""Bytes to a JSON tree, strict and bounded: judged by its structure before it is parsed.

What costs is structure, not size: 20 MB in one string parse in 30 ms, 17 MB in 1.5 million keys take over a second in
any parser, holding the interpreter all the while. So the structural characters are counted first, with nothing but
bytes methods that run at memory speed.

A fast parser reads what is good. It stops at what is not without the words a client needs, so that whatever it does not
take is read again by the standard library's, a value at a time, which finds out what is wrong.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import jiter

from antiphon.domain.errors import BodyTooLarge, InvalidRequest
from antiphon.domain.faults import FieldFault

_NAME_CHARS = 64
_LONGEST_INTEGER = 400
"""Digits; a longer number means nothing in any field, and converting it costs more than its length."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_HALF = re.compile("[\ud800-\udfff]")
_ROUND = bytes.maketrans(b"[]{}", b"()()")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_DIGITS = bytes.maketrans(b"123456789E", b"000000000e")
_HUGE_EXPONENT, _LONG_NUMBER = b"e000", b"0" * 200
"""Without either of them, no number is out of a float's range, or longer than an integer may be."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be. Counts unless the name says bytes or chars."""

    body_bytes: int = 20_971_520
    text_bytes: int = 4_194_304
    """Of the body, what is not inline media."""
    depth: int = 64
    nodes: int = 100_000
    object_keys: int = 5_000
    messages: int = 1_024
    parts: int = 256
    """Content parts in one message."""
    media: int = 16
    """Images, audio clips and files in one request."""
    stop_chars: int = 256
    logit_bias: int = 1_024
    tools: int = 128
    schema_bytes: int = 65_536
    schema_depth: int = 16


class _Refused(ValueError):
    """Raised inside the parser's hooks; becomes an InvalidRequest."""

    def __init__(self, msg: str, kind: str, code: str) -> None:
        super().__init__(msg)
        self.msg, self.kind, self.code = msg, kind, code


def refuse(
    msg: str, kind: str = "json_invalid", code: str = "invalid_json", loc: tuple[str | int, ...] = ()
) -> NoReturn:
    """Raise an InvalidRequest with one finding about the body, or about the place `loc` in it."""
    raise InvalidRequest((FieldFault(("body", *map(shown, loc)), msg, kind, code),))


def shown(step: str | int) -> str | int:
    """A step of a place as it may be told: a client's own key is cut short, and nothing in it is unprintable."""
    if isinstance(step, int):
        return step
    return "".join(char if char.isprintable() else "?" for char in step[:_NAME_CHARS])


def read_json(body: bytes, limits: Limits) -> Any:
    """Parse a request body.

    Raises:
        BodyTooLarge: more bytes than `limits.body_bytes`.
        InvalidRequest: not JSON in UTF-8, or of a shape that is refused: too deep, too many values, a key given twice,
            a number that is not finite or absurdly long, half of a surrogate pair.
    """
    if len(body) > limits.body_bytes:
        raise BodyTooLarge(f"The request body is larger than {limits.body_bytes} bytes.")
    outside = _outside_strings(body, limits)
    _judge(outside, limits)
    if not _is_tame(outside, limits):
        return _read_with_care(body, limits)
    try:
        return jiter.from_json(body, allow_inf_nan=False, catch_duplicate_keys=True, cache_mode="keys")
    except ValueError:
        return _read_with_care(body, limits)


def write_json(tree: Any) -> bytes:
    """Write what `read_json` gave: its integers may be longer than faster writers take."""
    return json.dumps(tree, ensure_ascii=False, separators=(",", ":")).encode()


def _outside_strings(body: bytes, limits: Limits) -> bytes:
    """Give what stands outside of strings: brackets, commas, colons, numbers and names."""
    if body.count(b'"') > 8 * limits.nodes:
        refuse("The request body holds too many values.", "too_many_values", "invalid_value")
    bare = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    return b"".join(bare.split(b'"')[::2])


def _judge(outside: bytes, limits: Limits) -> None:
    """Refuse a body by its structure: how deep it nests and how many values it holds."""
    openers = outside.count(b"[") + outside.count(b"{")
    if outside.count(b",") + openers > limits.nodes:
        refuse("The request body holds too many values.", "too_many_values", "invalid_value")
    if outside.count(b"]") + outside.count(b"}") != openers:
        refuse("The request body is not valid JSON.")
    if openers <= limits.depth:
        return
    # Innermost pairs vanish one level a round: what is left after `depth` rounds nests deeper, or never closes.
    brackets = outside.translate(_ROUND, _NO_BRACKETS)
    for _ in range(limits.depth):
        shorter = brackets.replace(b"()", b"")
        if shorter == brackets:
            break
        brackets = shorter
    if brackets:
        refuse("The request body is not valid JSON, or nests too deeply.")


def _is_tame(outside: bytes, limits: Limits) -> bool:
    """Whether a body has nothing that the fast parser would take and we do not: numbers and objects are small."""
    digits = outside.translate(_DIGITS, b"+")
    return not (_HUGE_EXPONENT in digits or _LONG_NUMBER in digits) and outside.count(b":") <= limits.object_keys


def _read_with_care(body: bytes, limits: Limits) -> Any:
    """Parse a body, and say what is wrong with it."""
    try:
        tree = _decoder(limits.object_keys).decode(body.decode("utf-8"))
    except _Refused as refused:
        refuse(refused.msg, refused.kind, refused.code)
    except UnicodeDecodeError:
        refuse("The request body is not valid UTF-8.")
    except (ValueError, RecursionError):
        refuse("The request body is not valid JSON.")
    if _SURROGATE.search(body):
        for loc, text in _texts(tree, ()):
            if _HALF.search(text):
                refuse("This text holds half of a surrogate pair.", "string_unicode", "invalid_value", loc)
    return tree


@lru_cache(maxsize=8)
def _decoder(most_keys: int) -> json.JSONDecoder:
    return json.JSONDecoder(
        object_pairs_hook=_object(most_keys), parse_constant=_constant, parse_float=_float, parse_int=_integer
    )


def _object(most: int) -> Any:
    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        built = dict(pairs)
        if len(built) != len(pairs):
            raise _Refused("An object holds the same key twice.", "duplicate_key", "duplicate_key")
        if len(built) > most:
            raise _Refused(f"An object holds more than {most} keys.", "too_many_values", "invalid_value")
        return built

    return build


def _constant(_: str) -> NoReturn:
    raise _Refused("NaN and Infinity are not JSON numbers.", "finite_number", "invalid_value")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise _Refused("A number is out of range.", "finite_number", "invalid_value")
    return number


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER:
        raise _Refused("A number is out of range.", "finite_number", "invalid_value")
    return int(text)


def _texts(tree: Any, loc: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string in a tree, keys included, with its place."""
    if isinstance(tree, str):
        yield loc, tree
    elif isinstance(tree, dict):
        for key, value in tree.items():
            yield loc, key
            yield from _texts(value, (*loc, key))
    elif isinstance(tree, list):
        for index, value in enumerate(tree):
            yield from _texts(value, (*loc, index))
