"""Addresses as one reads them out: links, mail, files and paths, telephone numbers, versions, and what is spelled."""

import re

from antiphon.media.speech.numbers import cardinal, one_by_one
from antiphon.media.speech.rules import Rule, any_word, rule

_SIGNS = {
    ".": "dot", "/": "slash", "\\": "backslash", "-": "dash", "_": "underscore", "@": "at", ":": "colon",
    "?": "question mark", "=": "equals", "&": "and", "#": "hash", "+": "plus", "%": "percent", "~": "tilde",
    "*": "star",
}  # fmt: skip
_BREAKS = re.compile(r"[^A-Za-z0-9]|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])")
_ENDINGS = any_word(
    "py js ts jsx tsx json jsonl yaml yml toml txt md csv tsv html htm css xml pdf png jpg jpeg gif svg webp mp3 "
    "mp4 wav flac ogg zip tar gz exe dll so sh bat ini cfg conf log lock sql db sqlite ipynb rs go java c h cpp "
    "hpp rb php doc docx xls xlsx ppt pptx gguf onnx bin env"
)
_SPELLED = frozenset(
    {"py", "io", "ai", "uk", "us", "de", "fr", "js", "ts", "db", "md", "rb", "rs", "cfg", "yml", "exe", "dll"}
)
"""What is spelled behind a dot though it has a vowel or could be a word; what has no vowel is spelled anyway."""
_SCHEME = re.compile(r"^<?(?:[a-z]{2,10}://|mailto:)?(?:www\.)?", re.IGNORECASE)
_HOSTS = any_word("com org net io dev ai edu gov app co uk de fr eu ch us ca info")

_PATH = r"[A-Za-z0-9_.@+-]"


def read_address(address: str) -> str:
    """Read an address sign by sign: "a.io/x" is "a dot I O slash x"."""
    said = ""
    for part in re.split(r"(\.[A-Za-z]{1,5}(?![A-Za-z0-9]))", address):
        if said and part.startswith(".") and _is_spelled(part[1:].lower()):
            said += f" dot {' '.join(part[1:].upper())}"
        else:
            said += _BREAKS.sub(lambda sign: f" {_SIGNS.get(sign[0], '')} ", part)
    return said


def _is_spelled(ending: str) -> bool:
    return ending in _SPELLED or not set(ending) & set("aeiouy")


def _url(match: re.Match[str]) -> str:
    address = match[0].rstrip(".,;:!?)>'\"*_")
    # A bracket that was opened in the address is of the address.
    address += ")" * (address.count("(") > address.count(")") and match[0][len(address) :].startswith(")"))
    end = match[0][len(address) :].replace(">", "")
    return f" {read_address(_SCHEME.sub('', address).rstrip('/'))}{end}"


def _file(match: re.Match[str]) -> str:
    return f" {read_address(match[0])} "


def spell(signs: str) -> str:
    """Read letters and digits one by one."""
    return " ".join(one_by_one(sign) if sign.isdigit() else sign.upper() for sign in signs)


def _groups(match: re.Match[str]) -> str:
    """A long hexadecimal name, with a breath between its groups."""
    groups = match[0].split("-") if "-" in match[0] else re.findall(r".{1,4}", match[0])
    return ", ".join(map(spell, groups))


def _phone(match: re.Match[str]) -> str:
    plus = "plus " if match[0].startswith("+") else ""
    return plus + ", ".join(one_by_one(group) for group in re.findall(r"\d+", match[0]))


def _ip(match: re.Match[str]) -> str:
    port = f" colon {one_by_one(match['port'])}" if match["port"] else ""
    return " dot ".join(map(cardinal, match["ip"].split("."))) + port


def _version(match: re.Match[str]) -> str:
    name = "version " if match["v"] else ""
    tag = f" {match['tag'].replace('.', ' ')}" if match["tag"] else ""
    return name + " point ".join(map(cardinal, match["digits"].split("."))) + tag


_PARTS = r"(?P<digits>\d{1,9}(?:\.\d{1,9}){%s})(?:-(?P<tag>(?:alpha|beta|rc|dev|pre)[.\d]{0,8}(?<=\w)))?(?![\w.]*\w)"

RULES: tuple[Rule, ...] = (
    rule(r"<?\b(?:https?://|ftp://|mailto:|www\.)[^\s<>\"\[\]]++>?", _url, re.IGNORECASE),
    rule(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,5}", _url),
    rule(rf"\b(?:[A-Za-z0-9-]{{1,63}}\.){{1,5}}(?:{_HOSTS})\b(?![.-]\w)(?:/[^\s<>\"\[\]]*+)?", _url),
    rule(r"\blocalhost:(\d{1,5})\b", lambda match: f"localhost colon {one_by_one(match[1])}"),
    rule(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b", _groups),
    rule(r"\b0x([0-9a-fA-F]{1,64})\b", lambda match: f"hex {spell(match[1])}"),
    rule(r"(?<![\w&])#(?=\d{0,5}[a-fA-F])([0-9a-fA-F]{6})\b", lambda match: f"hex {spell(match[1])}"),
    rule(r"\b(?=[0-9]{0,64}[a-f])(?=[a-f]{0,64}[0-9])(?!\d{1,60}e\d)[0-9a-f]{7,64}\b", _groups),
    rule(rf"(?<![\w./~-])(?:~|\.{{1,2}})?/(?:{_PATH}{{1,100}}/){{0,20}}{_PATH}{{1,100}}(?<![.+-])/?(?![\w(])", _file),
    rule(
        rf"(?<![\w./-])(?:{_PATH}{{1,60}}/){{0,9}}[A-Za-z0-9_-][A-Za-z0-9_.+-]{{0,80}}\.(?:{_ENDINGS})\b(?![-.]\w)",
        _file,
    ),
    rule(r"(?<![\w.])(?P<ip>\d{1,3}(?:\.\d{1,3}){3})(?::(?P<port>\d{1,5}))?(?![\w.]*\w)", _ip),
    rule(rf"\b(?P<v>[vV])\.? ?{_PARTS % '0,3'}", _version),
    rule(rf"(?<![\w.])(?P<v>){_PARTS % '2,3'}", _version),
    rule(rf"(?:(?<=[vV]ersion )|(?<=[pP]ython ))(?P<v>){_PARTS % '1'}", _version),
    rule(r"(?<![\w-])(?:\+\d{1,3}[ -]?)?\(\d{2,4}\)[ -]?\d{3,4}[ -]\d{3,4}(?![\w-])", _phone),
    rule(r"(?<![\w+-])\+\d{1,3}(?:[ -]\d{2,8}){2,5}(?![\w-])|(?<!\w)\+\d{7,15}\b", _phone),
    rule(r"(?<![\w-])(?:\d{1,3}-)?\d{3}[-.]\d{3}[-.]\d{4}(?![\w-])|(?<![\w-])\d{3} \d{3} \d{4}(?![\w-])", _phone),
    rule(r"(?<![\w-])\d{3}-\d{2}(?!00)\d{2}(?![\w%-])", _phone),
)
