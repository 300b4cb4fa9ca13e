"""Written English to the words one says: numbers, dates, money, addresses, signs, and what Markdown adds.

Linear in the text's length: every rule is, and there are as many as there are.
"""

from antiphon.media.speech import addresses, amounts, dates, markup, names, shorthand, signs
from antiphon.media.speech.folding import fold
from antiphon.media.speech.numbers import cardinal
from antiphon.media.speech.rules import Rule, apply, rule

_LAST: tuple[Rule, ...] = (
    rule(r"\d++", lambda digits: f" {cardinal(digits[0])} "),
    rule(r"[^A-Za-z0-9\s'.,;:!?—…\"()]++", " "),
    rule(r"\s+", " "),
    rule(r" (?=[.,;:!?…)])|(?<=\() ", ""),
)
_RULES = (
    *markup.RULES,
    names.ARTICLE,
    *addresses.RULES,
    *shorthand.RULES,
    *dates.RULES,
    *amounts.RULES,
    *names.RULES,
    *signs.RULES,
    *_LAST,
)
"""What may be mistaken for something else comes before it: an address's dots, a date's strokes, a number's letters."""


def normalise(text: str) -> str:
    """Give a text as words and the marks that shape its melody: `. , ; : ! ? — … " ( )`. May be empty.

    Args:
        text: any text; the best is read when it is a sentence with its end.
    """
    return apply(_RULES, fold(text)).strip()
