"""What Markdown and HTML add to a text for the eye, taken off it: what remains is what one reads aloud.

Sources: the CommonMark specification 0.31 and GitHub's tables, task lists and strikethrough. A sentence may come
without the rest of its block, so a mark is taken off whether or not its partner is here.
"""

import html
import re

from antiphon.media.speech.rules import Rule, any_word, rule

_TAGS = any_word(
    "a abbr b big blockquote body br caption center cite code dd del details div dl dt em figcaption figure font "
    "footer h1 h2 h3 h4 h5 h6 head header hr html i img ins kbd li main mark nav ol p pre q s samp section small "
    "span strike strong sub summary sup table tbody td tfoot th thead tr tt u ul var"
)
_TARGET = r"\([^()\[\s]{0,2000}(?:\([^()\[\s]{0,200}\)[^()\[\s]{0,200})?(?: ?\"[^\"\n\[]{0,300}\")?\)"
"""Where a link leads: an address that may have brackets in it, and a title."""
_TEXT = r"\[([^\[\]\n]{0,500})\]"

RULES: tuple[Rule, ...] = (
    rule(r"<!--[^<>]{0,1000}-->", " "),
    rule(r"<(?:br|/p|/div|/li|/tr|/h[1-6])\b[^<>\n]{0,300}>", "\n"),
    rule(rf"</?(?:{_TAGS})(?:\s[^<>\n]{{0,300}})?/?>", "", re.IGNORECASE),
    rule(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z]{2,31});", lambda entity: html.unescape(entity[0])),
    rule(r"^[ \t]{0,8}(?:`{3,}+|~{3,}+)[^\n`]*$", "", re.MULTILINE),
    rule(r"`{3,}+[\w+-]{0,20}", " "),
    rule(rf"!{_TEXT}{_TARGET}", r"\1"),
    rule(rf"{_TEXT}{_TARGET}", r"\1"),
    rule(r"\[\^[\w-]{1,30}\]:?", ""),
    rule(rf"{_TEXT}\[[^\[\]\n]{{0,100}}\]", r"\1"),
    rule(r"^[ \t]{0,3}(?:> ?){1,9}", "", re.MULTILINE),
    rule(r"^[ \t]{0,20}(?:[-*+•]|#{1,6})[ \t]+(?:\[[ xX]\][ \t]+)?", "", re.MULTILINE),
    rule(r"(?<=\S) #{1,6}[ \t]*$", "", re.MULTILINE),
    rule(r"^[-=_*|:+ \t]{3,}+$", "", re.MULTILINE),
    rule(r"^[ \t]{0,20}\|[ \t]{0,80}(?=[^|\n])", "", re.MULTILINE),
    rule(r"(?<=\S)[ \t]{0,80}\|[ \t]{0,80}$", "", re.MULTILINE),
    rule(r"(?<!\\)(?:(?<![\w*)])\*{1,3}(?=[^\s*])|(?<=[^\s*])\*{1,3}(?![\w*(]))", ""),
    rule(r"~~(?=\S)|(?<=\S)~~|==(?=[A-Za-z])|(?<=[A-Za-z.])==(?=[\s.,;:!?]|$)", ""),
    rule(r"(?<![\w_])_{1,3}(?=[^\s_])|(?<=[^\s_])_{1,3}(?=[\s.,;:!?)*\"\'-]|$)", ""),
    rule(r"`", ""),
    rule(r"\\([!-/:-@\[-`{-~])", r"\1"),
)
"""In their order: blocks, links, the marks of lines, the marks within lines."""
