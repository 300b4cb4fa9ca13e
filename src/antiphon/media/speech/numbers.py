"""Numbers as English words."""

ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"),
)
TENS = ("zero", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
SCALES = ("", "thousand", "million", "billion", "trillion", "quadrillion")
ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
PARTS = {"2": "half", "4": "quarter"}
MOST_DIGITS = 3 * len(SCALES)
"""Longer numbers are read digit by digit."""


def cardinal(digits: str) -> str:
    """Read a whole number: "1234" is "one thousand two hundred thirty four"."""
    stripped = digits.lstrip("0")
    if not stripped:
        return "zero"
    if len(stripped) > MOST_DIGITS:
        return one_by_one(digits)
    groups = [int(stripped[max(0, end - 3) : end]) for end in range(len(stripped), 0, -3)]
    words = [f"{_hundreds(group)} {SCALES[scale]}".strip() for scale, group in enumerate(groups) if group]
    return " ".join(reversed(words))


def ordinal(digits: str) -> str:
    """Read a place in a row: "21" is "twenty first"."""
    *before, last = cardinal(digits).split()
    nth = f"{last[:-1]}ieth" if last.endswith("y") else ORDINALS.get(last, f"{last}th")
    return " ".join([*before, nth])


def year(digits: str) -> str:
    """Read a year: "1984" is "nineteen eighty four", "2005" is "two thousand five"."""
    high, low = int(digits[:2]), int(digits[2:])
    if low == 0:
        return cardinal(digits) if high % 10 == 0 else f"{_hundreds(high)} hundred"
    if high % 10 == 0 and low < len(ONES) // 2:
        return cardinal(digits)
    return f"{_hundreds(high)} {'oh ' if low < len(ONES) // 2 else ''}{_hundreds(low)}"


def one_by_one(digits: str) -> str:
    """Read digits, each by itself."""
    return " ".join(ONES[int(digit)] for digit in digits)


def decimal(whole: str, fraction: str) -> str:
    """Read a number with a fraction: "3.14" is "three point one four"."""
    return f"{cardinal(whole)} point {one_by_one(fraction)}"


def fraction(above: str, below: str) -> str:
    """Read a fraction: "3/4" is "three quarters"; one of many parts, or of more than there are, is "over"."""
    if int(above) > int(below) or int(below) not in range(2, len(ONES) + 1):
        return f"{cardinal(above)} over {cardinal(below)}"
    if above == below:
        return f"{cardinal(above)} out of {cardinal(below)}"
    part = PARTS.get(below) or ordinal(below)
    return f"{cardinal(above)} {part if above == '1' else {'half': 'halves'}.get(part, f'{part}s')}"


def _hundreds(number: int) -> str:
    hundreds, rest = divmod(number, 100)
    words = [ONES[hundreds], "hundred"] if hundreds else []
    if rest >= len(ONES):
        tens, ones = divmod(rest, 10)
        words += [TENS[tens], *([ONES[ones]] if ones else [])]
    elif rest or not hundreds:
        words.append(ONES[rest])
    return " ".join(words)
