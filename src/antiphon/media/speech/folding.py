"""Every letter as a letter that the lexicons know: accents off, Greek and Cyrillic by sound, other scripts by name.

Source of scripts and decompositions: the Unicode database of Python's `unicodedata`.
"""

import re
import unicodedata

_LETTERS = {
    "Ø": "O", "ø": "o", "Ł": "L", "ł": "l", "Đ": "D", "đ": "d", "Ð": "D", "ð": "d", "Þ": "Th", "þ": "th",
    "ß": "ss", "ẞ": "SS", "Æ": "Ae", "æ": "ae", "Œ": "Oe", "œ": "oe", "ı": "i", "Ħ": "H", "ħ": "h", "ŋ": "ng",
    "ə": "e", **dict(zip("абвгдезийклмнопрстуфыэіїєґ", "abvgdeziyklmnoprstufyeiieg", strict=True)), "ё": "yo",
    "ж": "zh", "х": "kh", "ц": "ts", "ч": "ch", "ш": "sh", "щ": "shch", "ъ": "", "ь": "", "ю": "yu", "я": "ya",
    "ў": "w", "ј": "y", "љ": "ly", "њ": "ny", "џ": "dzh", "ђ": "dy", "ћ": "ch",
    **dict(zip("αβγδεζηικλμνξοπρσςτυφω", "avgdeziiklmnxoprsstyfo", strict=True)), "θ": "th", "χ": "ch",
    "ψ": "ps",
}  # fmt: skip
_MARKS = {
    "’": "'", "‘": "'", "ʼ": "'", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "「": '"', "」": '"',
    "‐": "-", "‑": "-", "―": "—", "−": "-", "。": ". ", "、": ", ", "،": ", ", "؟": "? ", "।": ". ", "…": "…",
    "™": "", "®": "", "©": "", "⁄": "/", "µ": "µ", "№": "number ", "°": "°", "²": "²", "³": "³", "℃": "°C",
    "℉": "°F", "—": "—", "–": "–", "•": "•", "·": "·",
}  # fmt: skip
"""What is not left to its decomposition."""
_SCRIPTS = {"CJK": "Chinese", "HIRAGANA": "Japanese", "KATAKANA": "Japanese", "HANGUL": "Korean", "DEVANAGARI": "Hindi"}
_OTHER = re.compile(r"[^\W\d_a-zA-Zµ²³]+(?:[\s'’-][^\W\d_a-zA-Zµ²³]+)*")
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_RAISED = re.compile(r"(?P<base>(?<=[\d)])|(?<=\b[A-Za-z])|(?<=\b[A-Za-z]{2}))?(?P<power>[⁰¹²³⁴-⁹⁻]+)")
_GREEK_SIGN = re.compile(r"(?<![^\W\d_])[Α-Ωα-ω](?![^\W\d_])")
_REPEATED = re.compile(r"\b([A-Z][a-z]{1,20} text)(?:[\s,.;:!?]+\1\b)++")


def fold(text: str) -> str:
    """Give a text in ASCII letters and digits; marks and signs stay, but for quotes, which become straight.

    A run of letters that have no Latin spelling here is named, "Chinese text", so that it is heard to be there.
    """
    text = unicodedata.normalize("NFC", text)
    text = _RAISED.sub(_raised, text)
    text = _GREEK_SIGN.sub(lambda letter: _greek_name(letter[0]), text)
    text = _NOT_ASCII.sub(lambda char: _folded(char[0]), text)
    return _REPEATED.sub(r"\1", _OTHER.sub(_named, text))


def _raised(match: re.Match[str]) -> str:
    """A power behind a number or a letter; the mark of a footnote behind a word, which is not said."""
    power = match["power"]
    if match["base"] is None:
        return ""
    return power if power in {"²", "³"} else "^" + unicodedata.normalize("NFKC", power).replace("\u2212", "-")


def _greek_name(letter: str) -> str:
    """Alone, a letter is said as mathematics says it: alpha."""
    name = unicodedata.name(letter).split(" LETTER ")[-1].split(" ")[0].lower()
    return {"lamda": "lambda"}.get(name, name)


def _folded(char: str) -> str:
    if char in _MARKS:
        return _MARKS[char]
    if unicodedata.category(char) in {"Mn", "Mc", "Me", "Cf"}:
        return ""
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    parts = unicodedata.normalize("NFKD", char)
    if "⁄" in parts:
        return f" {parts.replace('⁄', '/')}"
    if char.isalpha():
        return _spelled(char, parts)
    # ≠ is not the sign that it is made of.
    return char if any(map(unicodedata.combining, parts)) else parts


def _spelled(char: str, parts: str) -> str:
    """A letter by its own spelling here, else by that of what it is made of, without its accents."""
    if (said := _letter(char)) is not None:
        return said
    return "".join(_letter(part) or part for part in parts if not unicodedata.combining(part))


def _letter(char: str) -> str | None:
    if char in _LETTERS:
        return _LETTERS[char]
    said = _LETTERS.get(char.lower())
    return said if said is None else said.capitalize()


def _named(match: re.Match[str]) -> str:
    scripts = [unicodedata.name(char, "FOREIGN").split(" ")[0] for char in dict.fromkeys(match[0])]
    # Japanese is written with Chinese characters too.
    script = next((script for script in scripts if _SCRIPTS.get(script) == "Japanese"), scripts[0])
    return f" {_SCRIPTS.get(script, script.capitalize())} text "
