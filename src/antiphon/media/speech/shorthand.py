"""Short forms in full: titles, streets, Latin, and Roman numerals."""

import re

from antiphon.media.speech.numbers import cardinal, ordinal
from antiphon.media.speech.rules import Rule, any_of, any_word, is_end, rule

_ANYWHERE = {
    "Dr": "Doctor", "Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Prof": "Professor", "Jr": "Junior",
    "Sr": "Senior", "vs": "versus", "etc": "et cetera", "approx": "approximately", "Inc": "Incorporated",
    "Ltd": "Limited", "Corp": "Corporation", "Co": "Company", "Mt": "Mount", "Capt": "Captain",
    "Lt": "Lieutenant", "Sgt": "Sergeant", "Dept": "Department", "Ave": "Avenue", "Blvd": "Boulevard",
    "Rd": "Road", "cf": "compare", "viz": "namely", "al": "al", "Messrs": "Messieurs", "govt": "government",
    "ca": "circa",
}  # fmt: skip
_BEFORE_NAMES = {
    "Gen": "General", "Col": "Colonel", "Gov": "Governor", "Sen": "Senator", "Rep": "Representative",
    "Rev": "Reverend", "Hon": "Honorable", "Pres": "President", "Ft": "Fort",
}  # fmt: skip
_BEFORE_NUMBERS = {
    "No": "number", "no": "number", "Nos": "numbers", "Fig": "Figure", "fig": "figure", "Vol": "Volume",
    "vol": "volume", "p": "page", "pp": "pages", "Eq": "Equation", "eq": "equation", "Sec": "Section",
    "sec": "section", "Ch": "Chapter", "ch": "chapter", "Art": "Article", "Tab": "Table",
}  # fmt: skip
_STREETS = {"St": "Street", "Dr": "Drive"}
_NEW_SENTENCE = r"(?:The|A|An|It|He|She|They|We|I|You|This|That|There|In|On|At|But|And|Then|My|His|Her|Our)\b"
_PARTS = any_word(
    "War Chapter Part Volume Vol Book Act Scene Section Type Phase Appendix Article Level Stage Grade Title "
    "Figure Table Mark Bowl Fantasy Episode Rocky Rambo Unit Module Lesson Step Tier Class Schedule Amendment "
    "Olympiad Apollo Annex Canto Sonata Symphony Vatican"
)
_REIGNS = any_word(
    "Henry Louis Elizabeth George Edward Charles James William Richard Mary John Paul Pius Benedict Gregory Leo "
    "Clement Innocent Alexander Nicholas Peter Catherine Frederick Philip Ferdinand Francis Joseph Leopold Otto "
    "Napoleon Ramses Ptolemy Darius Xerxes Cleopatra Gustav Christian Haakon Olaf Harald Carlos Felipe Juan "
    "Alfonso Robert David Ivan Mehmed Murad Selim Baldwin Godfrey Victor Umberto Albert Rainier Wilhelm "
    "Ludwig Franz Thutmose Amenhotep Urban Boniface Sixtus Julius Adrian Celestine Stephen Edmund Harold "
    "Margrethe Beatrix Willem"
)
_ROMAN = r"(?P<roman>(?=[IVXL])(?!L\b)(?:XL|L?X{0,3})(?:IX|IV|V?I{0,3}))(?<=[IVXL])"
_VALUES = {"I": 1, "V": 5, "X": 10, "L": 50}


def roman(numeral: str) -> str:
    """The digits of a Roman numeral below ninety: "XIV" is "14"."""
    values = [_VALUES[letter] for letter in numeral]
    pairs = zip(values, [*values[1:], 0], strict=True)
    return str(sum(-value if value < following else value for value, following in pairs))


def _full(match: re.Match[str], words: dict[str, str]) -> str:
    return words[match[1]] + ("." if is_end(match) else "")


def _street(match: re.Match[str]) -> str:
    next_letter = match.string[match.end() : match.end() + 2].strip()
    return f"{match[1]} {_STREETS[match[2]]}{'.' if is_end(match) or next_letter.isupper() else ''}"


RULES: tuple[Rule, ...] = (
    rule(r"\be\.\s?g\.,?(?:\s?:)?", "for example,"),
    rule(r"\bi\.\s?e\.,?", "that is,"),
    rule(r"\ba\.k\.a\.", "also known as"),
    rule(r"\bc\. ?(?=\d{3,4}\b)", "circa "),
    rule(r"\bPh\.?\s?D\b\.?", "P H D"),
    rule(r"\bw/o\b", "without"),
    rule(r"\bw/ ?(?=[A-Za-z])", "with "),
    rule(r"\band/or\b", "and or"),
    rule(r"\b(he|she|his|him|yes)/(she|he|hers?|no)\b", r"\1 or \2"),
    rule(r"#(?=\d)", "number "),
    rule(rf"(?<![\w.])(?!I\b)([A-Z])\.(?=\s[A-Z])(?!\s{_NEW_SENTENCE})", r"\1"),
    # A street's name stands before it and no name behind; a saint's and a doctor's stands behind.
    rule(
        rf"\b([A-Z][a-z]{{1,30}}|\d{{1,3}}(?:st|nd|rd|th)) (St|Dr)\.(?=\s{_NEW_SENTENCE}|\s[^A-Z\s]|\s*+$|[,;:)])",
        _street,
    ),
    rule(r"\bSt\.(?=\s[A-Z])", "Saint"),
    rule(rf"\b({any_of(_ANYWHERE)})\.(?=\s|$|[,;:)?!])", lambda match: _full(match, _ANYWHERE)),
    rule(rf"\b({any_of(_BEFORE_NAMES)})\.(?=\s[A-Z])", lambda match: _BEFORE_NAMES[match[1]]),
    rule(rf"\b({any_of(_BEFORE_NUMBERS)})\. ?(?=\d)", lambda match: f"{_BEFORE_NUMBERS[match[1]]} "),
    rule(
        rf"\b(?P<name>{_PARTS}) {_ROMAN}\b(?!\.\w)", lambda match: f"{match['name']} {cardinal(roman(match['roman']))}"
    ),
    rule(
        rf"\b(?P<name>{_REIGNS}) (?!I\b(?! (?:of|was|and|died|ruled|became|had)\b|['.,;:)]|\s*$)){_ROMAN}\b(?!\.\w)",
        lambda match: f"{match['name']} the {ordinal(roman(match['roman']))}",
    ),
    rule(
        r"\b(?!The |An? |This |My |Via )(?P<name>[A-Z][a-z]{1,30}) "
        r"(?P<roman>I{2,3}|VI{2,3}|IX|X{1,3}(?:IX|IV|VI{0,3}|I{1,3}))\b(?!\.\w)",
        lambda match: f"{match['name']} {cardinal(roman(match['roman']))}",
    ),
)
