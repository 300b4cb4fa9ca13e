"""Names that are not said as they are spelled: acronyms, programming languages, what programs call things."""

import re

from antiphon.media.speech.rules import Rule, any_of, any_word, is_end, rule

_SPELLED = any_word(
    "ACL AI API AWS CEO CIA CPU CTO EOF EU EUR FAQ FBI GPU IBM ID IDE IO IP IRS ISO OS QA UI UK UN URI URL URN "
    "USA USB USD UTC UUID UX VIP"
)
"""Spelled though they have a vowel; those without one are spelled anyway."""
_WORDS = {"JSON": "jason", "YAML": "yaml", "TOML": "toml", "SaaS": "sass", "OAuth": "oh auth", "CORS": "cores"}
_SHOUTED = r"(?<![A-Z] )(?<![A-Z]{2} )"


def _letters(match: re.Match[str]) -> str:
    end = match["end"] or ""
    return " ".join(match["letters"].upper()) + (f"'{end[-1]}" if end else "")


def _initials(match: re.Match[str]) -> str:
    return " ".join(match[0].replace(".", "").upper()) + ("." if is_end(match) else "")


def _parts(match: re.Match[str]) -> str:
    """A name as programs write it: parse_http2Request."""
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", match[0])
    return " ".join("I" if part == "i" else part for part in parts)


ARTICLE = rule(r"(?:^|(?<=[.!?:\"(—] )|(?<=[\"(]))A(?= [A-Za-z]{2})", "a", re.MULTILINE)
"""The article at a sentence's head: in a capital it would be said as the letter. Comes before anything is spelled."""
RULES: tuple[Rule, ...] = (
    rule(r"\b([A-G])#(?!\w)", r"\1 sharp"),
    rule(r"(?<![\d.])\.(NET|Net)\b", " dot net"),
    rule(rf"\b({any_of(_WORDS)})\b", lambda match: _WORDS[match[1]]),
    rule(r"\b(?P<letters>[A-Z]{1,4})(?P<end>)&(?=[A-Z]{1,4}\b)", lambda match: f"{_letters(match)} and "),
    rule(r"(?<![\w.])(?:[A-Za-z]\.){2,9}(?!\w)", _initials),
    rule(rf"{_SHOUTED}\b(?P<letters>IT|US|WHO)(?P<end>'s)?\b(?! [A-Z]{{2}})", _letters),
    rule(rf"\b(?P<letters>{_SPELLED}|[B-DF-HJ-NP-TV-XZ]{{2,6}})(?P<end>'s|s)?\b(?!')", _letters),
    rule(r"\b\w*(?:[a-z][A-Z]|[A-Za-z]_+[A-Za-z]|[A-Za-z]\d|\d[A-Za-z])\w*\b", _parts),
)
