"""Words to the sounds Kokoro was trained on: by a lexicon, by what its words become, and by rules for all others.

The lexicon is misaki's (Apache-2.0), which Kokoro's own training text was made with.
"""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from antiphon.media.speech.letters import VOWELS, spell_out

Lexicon = Mapping[str, str | Mapping[str, str | None]]
_TOKEN = re.compile(r"[A-Za-z]+(?:'[A-Za-z]+)*|[.,;:!?—…\"()]")
_MARKS = frozenset('.,;:!?—…"()')
_FUNCTION = {"a": "ɐ", "an": "ən", "and": "ænd", "of": "ʌv", "for": "fɔɹ"}
"""Words that are said more weakly within a sentence than by themselves."""
_VOICELESS = frozenset("ptkfθ")
_HISSING = frozenset("szʃʒʧʤ")
MOST_ACRONYM = 5
"""An unknown word in capitals of at most so many letters is spelled."""


class Phonemes:
    """Says words."""

    def __init__(self, *lexicons: Lexicon) -> None:
        """Take lexicons, the one to believe first."""
        self._lexicons = lexicons

    @classmethod
    def load(cls, *paths: Path) -> "Phonemes":
        """Read lexicons as misaki writes them."""
        return cls(*(json.loads(path.read_text("utf-8")) for path in paths))

    def say(self, text: str) -> str:
        """Give the sounds of a normalised text: words, with its marks between them."""
        tokens = _TOKEN.findall(text)
        said: list[str] = []
        for place, token in enumerate(tokens):
            if token in _MARKS:
                said.append(token)
                continue
            following = next((one for one in tokens[place + 1 :] if one not in _MARKS), "")
            sounds = self._in_context(token, following)
            said.append(f" {sounds}" if said and said[-1] != "(" else sounds)
        return "".join(said).strip()

    def _in_context(self, word: str, following: str) -> str:
        lower = word.lower()
        if lower in {"the", "to"}:
            is_before_vowel = bool(following) and self.word(following).lstrip("ˈˌ")[:1] in VOWELS
            return {"the": ("ðə", "ði"), "to": ("tə", "tʊ")}[lower][is_before_vowel]
        if word != "A" and lower in _FUNCTION:
            return _FUNCTION[lower]
        return self.word(word)

    def word(self, word: str) -> str:
        """Give the sounds of one word, known or not."""
        return self._known(word) or self._derived(word) or self._unknown(word)

    def _known(self, word: str) -> str | None:
        for form in dict.fromkeys((word, word.lower(), word.capitalize())):
            for lexicon in self._lexicons:
                entry = lexicon.get(form)
                sounds = entry if isinstance(entry, str) or entry is None else entry.get("DEFAULT")
                if sounds and not (len(form) == 1 and form != word):
                    return sounds
        return None

    def _derived(self, word: str) -> str | None:
        """A known word with an ending."""
        lower = word.lower()
        if lower.endswith("'s"):
            owner = self.word(word[:-2])
            return owner + _plural(owner)
        for ending, stems, sound in _ENDINGS:
            if lower.endswith(ending) and len(lower) > len(ending) + 1:
                for stem in stems(lower[: -len(ending)]):
                    if base := self._known(stem):
                        return base + sound(base)
        return None

    def _unknown(self, word: str) -> str:
        if word.isupper() and len(word) <= MOST_ACRONYM:
            return " ".join(self._known(letter) or spell_out(letter.lower()) for letter in word)
        # CamelCase was cut before; what is left of a name are its parts.
        parts = re.findall(r"[A-Z]?[^A-Z]+|[A-Z]+", word.replace("'", ""))
        if len(parts) == 1:
            return spell_out(parts[0].lower())
        return "".join(self._known(part) or spell_out(part.lower()) for part in parts)


def _plural(base: str) -> str:
    last = base[-1:]
    return "ᵻz" if last in _HISSING else "s" if last in _VOICELESS else "z"


def _past(base: str) -> str:
    last = base[-1:]
    return "ᵻd" if last in {"t", "d"} else "t" if last in _VOICELESS | {"s", "ʃ", "ʧ"} else "d"


def _bare(stem: str) -> tuple[str, ...]:
    return (stem,)


def _shortened(stem: str) -> tuple[str, ...]:
    """What a stem was before its ending: hop(p)-ed, hop(e)-d, tri(y)-ed."""
    undoubled = (stem[:-1],) if stem[-1:] == stem[-2:-1] else ()
    return (stem, f"{stem}e", *undoubled, *((f"{stem[:-1]}y",) if stem.endswith("i") else ()))


_ENDINGS: tuple[tuple[str, Callable[[str], tuple[str, ...]], Callable[[str], str]], ...] = (
    ("ing", _shortened, lambda _: "ɪŋ"),
    ("ed", _shortened, _past),
    ("es", _shortened, _plural),
    ("s", _bare, _plural),
    ("ly", _bare, lambda _: "li"),
    ("er", _shortened, lambda _: "əɹ"),
    ("ness", _shortened, lambda _: "nəs"),
    ("less", _bare, lambda _: "ləs"),
)
