"""What may stand behind a number, as one says it of one and of many."""

from collections.abc import Mapping
from types import MappingProxyType


def _regular(names: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    return {sign: (name, f"{name}s") for sign, name in names.items()}


UNITS: Mapping[str, tuple[str, str]] = MappingProxyType({
    **_regular({
        "km": "kilometer", "m": "meter", "cm": "centimeter", "mm": "millimeter", "nm": "nanometer",
        "µm": "micrometer", "kg": "kilogram", "g": "gram", "mg": "milligram", "µg": "microgram",
        "ms": "millisecond", "µs": "microsecond", "ns": "nanosecond", "s": "second", "sec": "second",
        "min": "minute", "mins": "minute", "h": "hour", "hr": "hour", "hrs": "hour", "L": "liter",
        "ml": "milliliter", "mL": "milliliter", "TB": "terabyte", "GB": "gigabyte", "MB": "megabyte",
        "KB": "kilobyte", "kB": "kilobyte", "GiB": "gibibyte", "MiB": "mebibyte", "KiB": "kibibyte", "W": "watt",
        "kW": "kilowatt", "MW": "megawatt", "GW": "gigawatt", "V": "volt", "mA": "milliamp",
        "kWh": "kilowatt hour", "Wh": "watt hour", "dB": "decibel", "lb": "pound", "lbs": "pound", "oz": "ounce",
        "mi": "mile", "yd": "yard", "€": "euro", "kcal": "kilocalorie", "kJ": "kilojoule", "kPa": "kilopascal",
        "Nm": "newton meter", "px": "pixel", "m²": "square meter", "km²": "square kilometer",
        "cm²": "square centimeter", "m³": "cubic meter", "cm³": "cubic centimeter", "km³": "cubic kilometer",
    }),
    "%": ("percent", "percent"), "‰": ("per mille", "per mille"), "°": ("degree", "degrees"),
    "°C": ("degree Celsius", "degrees Celsius"), "°F": ("degree Fahrenheit", "degrees Fahrenheit"),
    "Hz": ("hertz", "hertz"), "kHz": ("kilohertz", "kilohertz"), "MHz": ("megahertz", "megahertz"),
    "GHz": ("gigahertz", "gigahertz"), "ft": ("foot", "feet"), "mph": ("mile per hour", "miles per hour"),
    "kph": ("kilometer per hour", "kilometers per hour"), "fps": ("frame per second", "frames per second"),
    "rpm": ("revolution per minute", "revolutions per minute"), "bps": ("bit per second", "bits per second"),
    "kbps": ("kilobit per second", "kilobits per second"),
    "Mbps": ("megabit per second", "megabits per second"),
    "Gbps": ("gigabit per second", "gigabits per second"),
})  # fmt: skip
PER: Mapping[str, str] = MappingProxyType({
    "h": "hour", "hr": "hour", "s": "second", "sec": "second", "min": "minute", "d": "day", "wk": "week",
    "mo": "month", "yr": "year", "m": "meter", "km": "kilometer", "kg": "kilogram", "g": "gram", "L": "liter",
    "mi": "mile", "lb": "pound", "GB": "gigabyte", "MB": "megabyte", "kWh": "kilowatt hour",
})  # fmt: skip
"""What stands behind a measure's slash; what is not here is a word."""
MONEY: Mapping[str, tuple[str, str]] = MappingProxyType({
    "$": ("dollar", "cent"), "US$": ("U S dollar", "cent"), "€": ("euro", "cent"), "£": ("pound", "penny"),
    "¥": ("yen", "sen"), "₹": ("rupee", "paisa"),
})  # fmt: skip
"""A sign of money, to its unit and the hundredth of it."""
_PLURALS = {"penny": "pence", "yen": "yen", "sen": "sen", "paisa": "paise"}


def plural(money: str) -> str:
    """More than one of it."""
    return _PLURALS.get(money, f"{money}s")
