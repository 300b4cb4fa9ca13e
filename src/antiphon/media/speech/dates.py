"""Days and times of day as one says them, with the month first, as Americans do."""

import re

from antiphon.media.speech.numbers import cardinal, ordinal, year
from antiphon.media.speech.rules import Rule, is_end, rule

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
MOST_DAYS = 31
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]}|t)?" if month[3:] else month for month in MONTHS)
_HALF = r"(?P<half>[aApP](?:\.[mM]\.|[mM]\b))"
_CLOCK = r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)"


def _numeric_date(match: re.Match[str]) -> str:
    month, day = int(match["month"]), int(match["day"])
    if month > len(MONTHS) and day <= len(MONTHS) and "/" in match[0]:
        month, day = day, month  # 24/12/2026: the day first
    if not 1 <= month <= len(MONTHS) or not 1 <= day <= MOST_DAYS:
        return match[0]
    return f"{MONTHS[month - 1]} {ordinal(str(day))}, {year(match['year'])}"


def _date(match: re.Match[str]) -> str:
    said = _month(match["month"])
    if match["day"]:
        said += f" {ordinal(match['day'])}"
    return f"{said}{',' if match['day'] else ''} {year(match['year'])}" if match["year"] else said


def _month(name: str) -> str:
    return next(month for month in MONTHS if month[:3] == name[:3])


def _days(match: re.Match[str]) -> str:
    return f"{_month(match['month'])} {ordinal(match['first'])} to {ordinal(match['last'])}"


def _time(match: re.Match[str]) -> str:
    hour, minute, half = match["hour"].lstrip("0") or "0", match["minute"], match["half"]
    if minute == "00":
        said = cardinal(hour) + ("" if half else " hundred" if int(hour) > 12 or hour == "0" else " o'clock")  # noqa: PLR2004 - noon
    else:
        said = f"{cardinal(hour)} {'oh ' if minute[0] == '0' else ''}{cardinal(minute)}"
    return said + (_half(match) if half else "")


def _half(match: re.Match[str]) -> str:
    said = f" {' '.join(match['half'].replace('.', '').upper())}"
    return f"{said}." if match["half"].endswith(".") and is_end(match) else said


def _hour(match: re.Match[str]) -> str:
    return cardinal(match["hour"]) + _half(match)


def _long_time(match: re.Match[str]) -> str:
    if match["second"] == "00" and int(match["hour"]) < 24:  # noqa: PLR2004 - a day's hours
        return match[0].removesuffix(":00")
    return f"{cardinal(match['hour'])}, {cardinal(match['minute'])} and {cardinal(match['second'])} seconds"


def _decade(match: re.Match[str]) -> str:
    digits = f"{match['digits']}0"
    said = year(digits) if len(digits) == 4 else cardinal(digits)  # noqa: PLR2004 - 1980s
    return f"{said[:-1]}ies" if said.endswith("y") else f"{said}s"


RULES: tuple[Rule, ...] = (
    rule(r"\b(\d{4}-\d{2}-\d{2})T(?=\d{2}:\d{2})", r"\1, "),
    rule(
        r"(?<=\d:\d\d)(?::(?P<s>\d\d)(?:\.\d{1,9})?)?Z\b", lambda match: f":{match['s']} UTC" if match["s"] else " UTC"
    ),
    rule(r"(?<![\w-])(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})(?![\w-])", _numeric_date),
    rule(r"(?<=[\dmM.])\s?[-–]\s?(?=\d{1,2}(?::\d\d|\s?[aApP]\.?[mM]\b))", " to "),
    rule(r"(?<![\w/])(?P<month>\d{1,2})/(?P<day>\d{1,2})/(?P<year>[12]\d{3})(?![\w/])", _numeric_date),
    rule(rf"\b(?P<month>{_MONTH})\.? (?P<first>\d{{1,2}}) ?[-–] ?(?P<last>\d{{1,2}})\b", _days),
    rule(
        rf"\b(?P<month>{_MONTH})\.? (?P<day>\d{{1,2}})(?:st|nd|rd|th)?\b(?![.:]\d)(?:,? (?P<year>[12]\d{{3}})\b)?",
        _date,
    ),
    rule(
        rf"\b(?P<day>\d{{1,2}})(?:st|nd|rd|th)? (?P<month>{_MONTH})\b(?:\.(?= \d))?(?:,? (?P<year>[12]\d{{3}})\b)?",
        _date,
    ),
    rule(rf"\b(?P<month>{_MONTH})\.?(?P<day>),? (?P<year>[12]\d{{3}})\b", _date),
    rule(r"(?<![\w:])(?P<hour>\d{1,2}):(?P<minute>[0-5]\d):(?P<second>[0-5]\d)(?![:\d])", _long_time),
    rule(rf"(?<![\w:.]){_CLOCK}(?: ?{_HALF})?(?![:\d])", _time),
    rule(rf"(?<![\w:.,])(?P<hour>1[0-2]|[1-9]) ?{_HALF}(?!\w)", _hour),
    rule(r"(?<![\w.,])(?P<digits>[12]\d\d)0s\b", _decade),
    rule(
        r"(?:(?<=the )|(?<=early )|(?<=mid-)|(?<=late )|(?<=his )|(?<=her )|(?<=their )|(?<!\w)')(?P<digits>[2-9])0s\b",
        _decade,
    ),
    rule(r"(?<![\w.])(\d[\d,]{0,20}+)(?:st|nd|rd|th)\b", lambda match: ordinal(match[1].replace(",", ""))),
)
"""An ordinal is here because a date may have one."""
