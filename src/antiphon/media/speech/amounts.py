"""Amounts as one says them: money, measures, ranges, fractions, sums, and numbers that count nothing."""

import re

from antiphon.media.speech.numbers import cardinal, decimal, fraction, one_by_one, year
from antiphon.media.speech.rules import NUMBER, Rule, any_of, rule
from antiphon.media.speech.units import MONEY, PER, UNITS, plural

_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion", "T": "trillion"}
_SCALE = r"(?P<scale>(?:bn|[kKMBT])\b| (?:thousand|million|billion|trillion|bn|[MB])\b)"
_WELL_KNOWN = {"24/7": "twenty four seven", "9/11": "nine eleven", "50/50": "fifty fifty"}
_RANGE = r" ?[-–] ?"


def number(written: str) -> str:
    """Read a number of which something says what it counts: "1,234.5", "7"; no sign."""
    whole, _, parts = written.replace(",", "").partition(".")
    return decimal(whole, parts) if parts else cardinal(whole)


def bare(written: str) -> str:
    """Read a number of which nothing says what it counts: a year, a long row of digits, or an amount."""
    if len(written) == 4 and written.isdigit() and "1100" <= written <= "2099":  # noqa: PLR2004 - a year's digits
        return year(written)
    if len(written) > 1 and written.isdigit() and written[0] == "0":
        return one_by_one(written)
    return number(written)


def _money(match: re.Match[str]) -> str:
    unit, part = MONEY[match["sign"]]
    least, most, scale = match["least"], match["most"], match["scale"]
    minus = "minus " if match["minus"] else ""
    per = f" per {PER.get(match['per'], match['per'])}" if match["per"] else ""
    whole, _, cents = least.replace(",", "").partition(".")
    if most or scale or len(cents) > 2:  # noqa: PLR2004 - the cents' digits
        said = number(least) + (f" to {number(most)}" if most else "") + (_scale(scale) if scale else "")
        return f"{minus}{said} {unit if least == '1' and not most and not scale else plural(unit)}{per}"
    cents = f"{cents}0"[:2].lstrip("0") if cents else ""
    parts = f"{cardinal(cents)} {part if cents == '1' else plural(part)}" if cents else ""
    if parts and not whole.strip("0"):
        return f"{minus}{parts}{per}"
    said = f"{cardinal(whole)} {unit if whole == '1' else plural(unit)}"
    return f"{minus}{said}{f' and {parts}' if parts else ''}{per}"


def _scale(scale: str) -> str:
    scale = scale.strip()
    return f" {_SCALES.get(scale, scale)}"


def _measure(match: re.Match[str]) -> str:
    least, most, scale, unit, per = (match[name] for name in ("least", "most", "scale", "unit", "per"))
    said = ("minus " if match["minus"] else "") + number(least)
    if most:
        said += f" to {number(most)}"
    if scale:
        said += _scale(scale)
    if unit:
        one, many = UNITS[unit]
        said += f" {one if least == '1' and not most and not scale else many}"
    return said + (f" per {PER.get(per, per)}" if per else "")


def _between(match: re.Match[str]) -> str:
    return f"{bare(match['least'])} to {bare(match['most'])}"


def _fraction(match: re.Match[str]) -> str:
    if match["whole"] is None and (known := _WELL_KNOWN.get(match["part"])):
        return known
    above, below = match["above"], match["below"]
    said = fraction(above, below)
    if match["whole"] is None:
        return said
    return f"{cardinal(match['whole'])} and {said.replace('one half', 'a half')}"


def _power_of_ten(match: re.Match[str]) -> str:
    minus = "minus " if match["sign"] == "-" else ""
    return f"{number(match['number'])} times ten to the {minus}{cardinal(match['power'])}"


def _single(match: re.Match[str]) -> str:
    said = f"minus {number(match['number'])}" if match["minus"] else bare(match["number"])
    return f"{said} " if match.string[match.end() : match.end() + 1].isalpha() else said


_START = r"(?P<minus>(?<![\w)])-)?(?<![\w.])"
_UNIT = rf"(?:(?P<unit>{any_of(UNITS)})(?:/(?P<per>[a-zA-Z]{{1,12}}))?(?![\w/]))"

RULES: tuple[Rule, ...] = (
    rule(r"(?<![\w.])\d{1,3}(?: \d{3}){2,5}+(?![\w-])", lambda match: match[0].replace(" ", "")),
    rule(r"(?<=[$€£])\.(?=\d)", "0."),
    rule(r"(?<=\d[kKMB])[-–](?=[$€£])", " to "),
    rule(
        rf"(?P<minus>(?<![\w)])-)?(?P<sign>{any_of(MONEY)}) ?(?P<least>{NUMBER})(?:{_RANGE}[$€£¥₹]?(?P<most>{NUMBER}))?"
        rf"{_SCALE}?(?:/(?P<per>[a-zA-Z]{{1,12}})\b)?",
        _money,
    ),
    rule(rf"(?<![\w.])(?P<number>{NUMBER})[eE](?P<sign>[+-]?)(?P<power>\d{{1,4}})\b", _power_of_ten),
    rule(r"(?<=\d)\*\*(?=[\d(-])", "^"),
    rule(r"(?<=\d)\*(?=[\w(])|(?<=[\w)])\*(?=\d)", " times "),
    rule(r"(?:(?<=\d)|(?<=\))|(?<=\b[A-Za-z])) \* (?=[\d(]|[A-Za-z]\b)", " times "),
    rule(rf"(?<![\w.])(\d++\.\d++)/({NUMBER})(?![\w/])", lambda match: f"{number(match[1])} out of {number(match[2])}"),
    rule(r"(?<=\d) / (?=\d)", " divided by "),
    rule(r"(?:(?<=\d)|(?<=\))|(?<=\b[a-z])) - (?=[\d(]|[a-z]\b)|(?<=\d)-(?=\d{1,15} ?=)", " minus "),
    rule(
        rf"(?<![\w.])({NUMBER})(?:[xX×]| x )({NUMBER})(?!\w)",
        lambda match: f"{number(match[1])} by {number(match[2])}",
    ),
    rule(r"(?<!\w)(\d)'(1?\d)\"", lambda match: f"{cardinal(match[1])} foot {cardinal(match[2])}"),
    rule(rf"(?<![\w.])({NUMBER})[x×](?!\w| ?[+=^²³]| [-*/])", lambda match: f"{number(match[1])} times"),
    rule(
        r"(?<![\w/.])(?:(?P<whole>\d{1,6}) )?(?P<part>(?P<above>\d{1,3})/(?P<below>\d{1,3}))(?![\w/]|\.\d)", _fraction
    ),
    rule(rf"{_START}(?P<least>{NUMBER})(?:{_RANGE}(?P<most>{NUMBER}))?(?:{_SCALE}| ?{_UNIT})", _measure),
    rule(rf"(?<![\w.–-])(?P<least>{NUMBER})(?:-|{_RANGE.replace('-', '')})(?P<most>{NUMBER})(?![\w–-])", _between),
    rule(r"(?<=\d):(?=\d)", " to "),
    rule(r"(?<![\w.])\.(?P<digits>\d++)", lambda match: f"point {one_by_one(match['digits'])}"),
    rule(rf"{_START}(?P<number>{NUMBER})", _single),
)
