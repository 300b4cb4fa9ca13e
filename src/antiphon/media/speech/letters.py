"""How a word that no lexicon has is probably said: letters to American sounds, by rules of English spelling.

The sounds are those Kokoro was trained on: IPA, with A I O W Y for the diphthongs of day, high, go, how and boy.
"""

import re

VOWELS = frozenset("AIOWYaeiouæɑɔəɛɜɪʊʌᵊᵻ")
STRESS = "ˈ"

_RULES: tuple[tuple[str, str], ...] = (
    # A spelling, as a regular expression from here on, to its sound. The first that fits is taken.
    (r"^kn", "n"), (r"^gn", "n"), (r"^ps", "s"), (r"^pn", "n"), (r"^wr", "ɹ"), (r"^x", "z"), (r"^mc", "mək"),
    (r"^y", "j"), (r"^wh", "w"), (r"^rh", "ɹ"),
    (r"tion", "ʃən"), (r"ssion", "ʃən"), (r"sion", "ʒən"), (r"cian", "ʃən"), (r"cious", "ʃəs"), (r"tious", "ʃəs"),
    (r"tial", "ʃəl"), (r"cial", "ʃəl"), (r"ture", "ʧəɹ"), (r"sure", "ʒəɹ"), (r"ous$", "əs"), (r"ough", "O"),
    (r"augh", "ɔ"), (r"eigh", "A"), (r"igh", "I"), (r"tch", "ʧ"), (r"dge", "ʤ"), (r"sch", "sk"), (r"chr", "kɹ"),
    (r"ch", "ʧ"), (r"sh", "ʃ"), (r"th", "θ"), (r"ph", "f"), (r"gh$", ""), (r"gh", "ɡ"), (r"ck", "k"),
    (r"cc(?=[eiy])", "ks"), (r"qu", "kw"), (r"q", "k"), (r"ng$", "ŋ"), (r"ng(?=[kg])", "ŋ"), (r"nk", "ŋk"),
    (r"mb$", "m"),
    (r"bb", "b"), (r"cc", "k"), (r"dd", "d"), (r"ff", "f"), (r"gg", "ɡ"), (r"kk", "k"), (r"ll", "l"), (r"mm", "m"),
    (r"nn", "n"), (r"pp", "p"), (r"rr", "ɹ"), (r"ss", "s"), (r"tt", "t"), (r"zz", "z"),
    (r"le$", "ᵊl"), (r"les$", "ᵊlz"), (r"ee", "i"), (r"ea(?=r)", "ɪ"), (r"ea", "i"), (r"oo(?=k)", "ʊ"), (r"oo", "u"),
    (r"ou", "W"), (r"ow$", "O"), (r"ow", "W"), (r"oi|oy", "Y"), (r"ai|ay", "A"), (r"au|aw", "ɔ"), (r"ie$", "i"),
    (r"ie", "i"), (r"ei|ey(?!$)", "A"), (r"ey$", "i"), (r"eu|ew|ue$", "u"), (r"ui", "u"), (r"oa|oe", "O"),
    (r"ia", "iə"),
    (r"io", "iO"), (r"eo", "iO"), (r"ar", "ɑɹ"), (r"er|ir|ur", "əɹ"), (r"or", "ɔɹ"), (r"yr", "ɪɹ"),
    (r"a(?=[^aeiouyrw]e$)", "A"), (r"e(?=[^aeiouyrw]e$)", "i"), (r"i(?=[^aeiouyrw]e$)", "I"),
    (r"o(?=[^aeiouyrw]e$)", "O"), (r"u(?=[^aeiouyrw]e$)", "u"), (r"y(?=[^aeiouyrw]e$)", "I"),
    (r"a(?=[^aeiouy]e[sd]$)", "A"), (r"i(?=[^aeiouy]e[sd]$)", "I"), (r"o(?=[^aeiouy]e[sd]$)", "O"),
    (r"ees$", "iz"), (r"es$", "iz"), (r"e$", ""), (r"a$", "ə"), (r"i$", "i"), (r"o$", "O"), (r"u$", "u"), (r"y$", "i"),
    (r"c(?=[eiy])", "s"), (r"c", "k"), (r"g(?=[ey])", "ʤ"), (r"g", "ɡ"), (r"x", "ks"), (r"j", "ʤ"), (r"y", "ɪ"),
    (r"s$", "z"), (r"r", "ɹ"), (r"a", "æ"), (r"e", "ɛ"), (r"i", "ɪ"), (r"o", "ɑ"), (r"u", "ʌ"),
)  # fmt: skip
_COMPILED = tuple(
    (re.compile(spelling.removeprefix("^")), spelling.startswith("^"), sound) for spelling, sound in _RULES
)


def spell_out(word: str) -> str:
    """Give the sounds of a word in lower case: never empty for a word that has a letter."""
    sounds, at = [], 0
    while at < len(word):
        sound, at = _next(word, at)
        sounds.append(sound)
    said = _stressed([sound for sound in sounds if sound])
    return said or "".join(letter for letter in word if letter.isalpha())


def _next(word: str, at: int) -> tuple[str, int]:
    for spelling, is_first, sound in _COMPILED:
        if (at == 0 or not is_first) and (match := spelling.match(word, at)):
            return sound, match.end()
    return word[at] if word[at].isascii() and word[at].isalpha() else "", at + 1


def _stressed(sounds: list[str]) -> str:
    """Put the stress where English mostly has it: on the first of two syllables, on the third from the end of more."""
    vowels = [place for place, sound in enumerate(sounds) if any(char in VOWELS - set("əᵊ") for char in sound)]
    if not vowels:
        return "".join(sounds)
    place = vowels[0] if len(vowels) < 3 else vowels[-3]  # noqa: PLR2004 - syllables
    sound = sounds[place]
    first = next(index for index, char in enumerate(sound) if char in VOWELS)
    return "".join([*sounds[:place], sound[:first] + STRESS + sound[first:], *sounds[place + 1 :]])
