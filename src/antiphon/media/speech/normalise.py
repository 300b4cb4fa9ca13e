"""Written English to the words one says: numbers, dates, money, addresses, signs, and what markdown adds.

Each rule takes what the ones before it left. All of them are linear in the text's length.
"""

import re
import unicodedata
from collections.abc import Callable

from antiphon.media.speech.numbers import cardinal, decimal, one_by_one, ordinal, year

MOST_CHARS = 4_000
"""Of one piece of text; what is behind is not said."""
MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" for month in MONTHS)
_MONEY = {"$": ("dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"), "¥": ("yen", "sen")}
_PLURAL = {"penny": "pence", "yen": "yen", "sen": "sen"}
_SCALE = {"k": "thousand", "K": "thousand", "M": "million", "m": "million", "B": "billion", "bn": "billion"}
_UNITS = {
    "%": "percent",
    "°C": "degrees Celsius",
    "°F": "degrees Fahrenheit",
    "°": "degrees",
    "km/h": "kilometers per hour",
    "km": "kilometers",
    "cm": "centimeters",
    "mm": "millimeters",
    "kg": "kilograms",
    "mg": "milligrams",
    "ms": "milliseconds",
    "GB": "gigabytes",
    "MB": "megabytes",
    "KB": "kilobytes",
    "kB": "kilobytes",
    "TB": "terabytes",
    "GHz": "gigahertz",
    "MHz": "megahertz",
    "kHz": "kilohertz",
    "Hz": "hertz",
    "mph": "miles per hour",
    "ft": "feet",
    "lb": "pounds",
    "lbs": "pounds",
    "oz": "ounces",
    "min": "minutes",
    "hrs": "hours",
}
_SHORT = {
    "Dr": "Doctor",
    "Mr": "Mister",
    "Mrs": "Missus",
    "Ms": "Miz",
    "Prof": "Professor",
    "St": "Saint",
    "Jr": "Junior",
    "Sr": "Senior",
    "vs": "versus",
    "etc": "et cetera",
    "approx": "approximately",
    "Inc": "Incorporated",
    "Ltd": "Limited",
    "Mt": "Mount",
    "Gen": "General",
    "Capt": "Captain",
}
_SIGNS = {
    "&": " and ",
    "+": " plus ",
    "=": " equals ",
    "@": " at ",
    "/": " slash ",
    "\\": " backslash ",
    "<": " less than ",
    ">": " greater than ",
    "×": " times ",
    "÷": " divided by ",
    "±": " plus or minus ",
    "→": " to ",
    "≈": " about ",
    "≤": " at most ",
    "≥": " at least ",
    "√": " square root of ",
    "#": " number ",
    "^": " to the power of ",
    "~": " about ",
    "|": ", ",
    "_": " ",
    "*": " ",
    "`": " ",
    "•": " ",
    "[": " ",
    "]": " ",
    "{": " ",
    "}": " ",
    "$": " dollars ",
    "€": " euros ",
    "£": " pounds ",
    "%": " percent ",
    "°": " degrees ",
}
_QUOTES = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "—", "\u00a0": " ", "…": "…"})
_KEPT = frozenset(" '.,;:!?—…\"()-")

Say = Callable[[re.Match[str]], str]


def normalise(text: str) -> str:
    """Give a text as words and the marks that shape its melody: `. , ; : ! ? — … " ( )`. May be empty."""
    text = text[:MOST_CHARS].translate(_QUOTES)
    for pattern, say in _RULES:
        text = pattern.sub(say, text)
    text = "".join(_SIGNS.get(char, char) for char in text)
    text = "".join(char for char in unicodedata.normalize("NFKD", text) if _is_said(char))
    text = re.sub(r"(?<![A-Za-z])-|-(?![A-Za-z])", " ", text).replace("-", " ")
    text = re.sub(r"\d+", lambda number: f" {cardinal(number[0])} ", text)
    text = re.sub(r"\s+", " ", text)
    return re.sub(r" ([.,;:!?…])", r"\1", text).strip()


def _is_said(char: str) -> bool:
    return char in _KEPT or (char.isascii() and char.isalnum()) or char.isspace()


def _link(match: re.Match[str]) -> str:
    return match[1]


def _url(match: re.Match[str]) -> str:
    address, end = match[0], ""
    while address and address[-1] in ".,;:!?)":
        address, end = address[:-1], address[-1] + end
    address = re.sub(r"^(https?://)?(www\.)?", "", address).rstrip("/")
    said = _BREAKS.sub(lambda sign: f" {_ADDRESS.get(sign[0], '')} ", address)
    return f" {said} {end}"


_BREAKS = re.compile(r"[^A-Za-z0-9]+|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")
_ADDRESS = {".": "dot", "/": "slash", "-": "dash", "_": "underscore", "@": "at", ":": "colon", "?": "question mark"}


def _money(match: re.Match[str]) -> str:
    unit, part = _MONEY[match["sign"]]
    whole, fraction, scale = match["whole"].replace(",", ""), match["fraction"], match["scale"]
    if scale:
        amount = decimal(whole, fraction) if fraction else cardinal(whole)
        return f"{amount} {_SCALE.get(scale, scale)} {_plural(unit)}"
    said = f"{cardinal(whole)} {unit if int(whole) == 1 else _plural(unit)}"
    if fraction and int(fraction):
        cents = f"{fraction}0"[:2].lstrip("0")
        said += f" and {cardinal(cents)} {part if cents == '1' else _plural(part)}"
    return said


def _plural(unit: str) -> str:
    return _PLURAL.get(unit, f"{unit}s")


def _iso_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), match["day"].lstrip("0")
    if not 1 <= month <= len(MONTHS) or not day or int(day) > 31:  # noqa: PLR2004 - a month's days
        return match[0]
    return f"{MONTHS[month - 1]} {ordinal(day)}, {year(match['year'])}"


def _date(match: re.Match[str]) -> str:
    month = next(name for name in MONTHS if name[:3] == match["month"][:3])
    said = f"{month} {ordinal(match['day'])}"
    return f"{said}, {year(match['year'])}" if match["year"] else said


def _time(match: re.Match[str]) -> str:
    hour, minute, half = match["hour"].lstrip("0") or "0", match["minute"], match["half"]
    if minute == "00":
        said = cardinal(hour) + ("" if half else " o'clock" if int(hour) else " hundred")
    else:
        said = f"{cardinal(hour)} {'oh ' if minute[0] == '0' else ''}{cardinal(minute)}"
    return f"{said} {' '.join(half.replace('.', '').upper())}" if half else said


def _hour(match: re.Match[str]) -> str:
    return f"{cardinal(match[1])} {' '.join(match[2].replace('.', '').upper())}"


def _number(match: re.Match[str]) -> str:
    whole, fraction, unit = match["whole"].replace(",", ""), match["fraction"], match["unit"]
    minus = "minus " if match["minus"] else ""
    said = decimal(whole, fraction) if fraction else cardinal(whole)
    if unit is None and not fraction and not minus and "," not in match["whole"]:
        said = _bare(whole)
    return f"{minus}{said}{f' {_UNITS[unit]}' if unit else ''}"


def _bare(digits: str) -> str:
    """A number of which nothing says what it counts: a year, a long row of digits, or an amount."""
    if len(digits) == 4 and "1100" <= digits <= "2099":  # noqa: PLR2004 - a year's digits
        return year(digits)
    if len(digits) > 1 and digits[0] == "0":
        return one_by_one(digits)
    return cardinal(digits)


def _phone(match: re.Match[str]) -> str:
    return ", ".join(one_by_one(group) for group in re.findall(r"\d+", match[0]))


def _version(match: re.Match[str]) -> str:
    return " point ".join(map(cardinal, match[0].split(".")))


def _words(match: re.Match[str]) -> str:
    """A name as programs write it: parse_http2Request."""
    return " ".join(re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", match[0]))


def _rule(pattern: str, say: Say | str, flags: int = 0) -> tuple[re.Pattern[str], Say | str]:
    return re.compile(pattern, flags), say


_UNIT = "|".join(sorted(map(re.escape, _UNITS), key=len, reverse=True))
_RULES: tuple[tuple[re.Pattern[str], Say | str], ...] = (
    _rule(r"```[^\n`]*\n?", " "),
    _rule(r"!?\[([^\]\n]{0,500})\]\([^)\s]{1,2000}\)", _link),
    _rule(r"<?(?:https?://|www\.)[^\s<>\"]+>?", _url),
    _rule(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", _url),
    _rule(r"\b(?:[a-z0-9-]{1,63}\.){1,5}(?:com|org|net|io|dev|ai|edu|gov)\b(?:/[^\s<>\"]*)?", _url),
    _rule(r"^[ \t]*(?:[-*+•]|#{1,6}|>)[ \t]+", "", re.MULTILINE),
    _rule(r"^[ \t]*[-=_*|: \t]{3,}$", "", re.MULTILINE),
    _rule(r"(?<![\w*])\*{1,3}(?=\S)|(?<=\S)\*{1,3}(?![\w*])", ""),
    _rule(r"\be\.g\.,?", "for example,"),
    _rule(r"\bi\.e\.,?", "that is,"),
    _rule(r"\ba\.k\.a\.", "also known as"),
    _rule(rf"\b({'|'.join(_SHORT)})\.(?=\s|$|,)", lambda match: _SHORT[match[1]]),
    _rule(r"\bNo\. ?(?=\d)", "number "),
    _rule(
        r"(?P<sign>[$€£¥]) ?(?P<whole>\d[\d,]{0,20})(?:\.(?P<fraction>\d{1,2}))?"
        r"(?: ?(?P<scale>k|K|M|B|bn|million|billion|trillion)\b)?",
        _money,
    ),
    _rule(r"\b(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})\b", _iso_date),
    _rule(rf"\b(?P<month>{_MONTH})\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?:,? (?P<year>\d{{4}})\b)?", _date),
    _rule(rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?P<month>{_MONTH})\b\.?(?:,? (?P<year>\d{{4}})\b)?", _date),
    _rule(r"\b(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)(?: ?(?P<half>[aApP]\.?[mM]\b\.?))?(?![:\d])", _time),
    _rule(r"\b(1[0-2]|[1-9]) ?([aApP]\.?[mM])\b\.?(?!\w)", _hour),
    _rule(r"(?<![\w-])\+?\d{1,3}(?:[ -]\(?\d{2,4}\)?){2,4}(?![\w-])", _phone),
    _rule(r"\b(\d{1,18})(?:st|nd|rd|th)\b", lambda match: ordinal(match[1])),
    _rule(r"\b(\d{3}|\d)0s\b", lambda match: _decade(match[1])),
    _rule(r"\b\d{1,9}(?:\.\d{1,9}){2,3}\b", _version),
    _rule(
        r"(?:(?<=\s)|^)(?P<minus>)(?P<whole>\d{1,9})-(?=\d)(?P<fraction>)(?P<unit>)",
        lambda match: f"{_bare(match['whole'])} to ",
    ),
    _rule(
        rf"(?P<minus>(?<![\w)])[-−])?(?<![\w.])(?P<whole>\d{{1,3}}(?:,\d{{3}})+|\d+)(?:\.(?P<fraction>\d{{1,30}}))?"
        rf"(?: ?(?P<unit>{_UNIT})(?!\w))?",
        _number,
    ),
    _rule(r"\b\w*(?:[a-z][A-Z]|[A-Za-z]_[A-Za-z]|[A-Za-z]\d|\d[A-Za-z])\w*\b", _words),
)


def _decade(digits: str) -> str:
    said = year(f"{digits}0") if len(digits) == 3 else cardinal(f"{digits}0")  # noqa: PLR2004 - 198 of 1980s
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"
