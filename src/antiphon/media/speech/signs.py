"""The signs that are left when all that has a meaning of its own was read, by their names."""

from antiphon.media.speech.rules import Rule, any_of, rule

_SIGNS = {
    "&": "and", "&&": "and", "+": "plus", "=": "equals", "==": "equals", "===": "equals",
    "!=": "is not equal to", "≠": "is not equal to", "@": "at", "/": "slash", "\\": "backslash",
    "<": "less than", ">": "greater than", "<=": "at most", ">=": "at least", "≤": "at most", "≥": "at least",
    "->": "to", "=>": "to", "→": "to", "⇒": "to", "×": "times", "·": "times", "÷": "divided by",
    "±": "plus or minus", "+/-": "plus or minus", "≈": "about", "~": "about", "√": "square root of",
    "∞": "infinity", "∑": "sum of", "∈": "in", "∂": "partial", "∫": "integral of", "#": "number",
    "^": "to the power of", "²": "squared", "³": "cubed", "$": "dollars", "€": "euros", "£": "pounds",
    "¥": "yen", "%": "percent", "°": "degrees", "°C": "degrees Celsius", "§": "section", "¶": "paragraph",
    "||": "or", "µ": "micro",
}  # fmt: skip

RULES: tuple[Rule, ...] = (
    rule(r"(?<!\w)[:;]-?[)(DP](?!\w)", ""),
    rule(r"(?<!\w)#(?=[A-Za-z])", "hashtag "),
    rule(any_of(_SIGNS), lambda match: f" {_SIGNS[match[0]]} "),
    rule(r"(?<=[A-Za-z])–(?=[A-Za-z])", " to "),
    rule(r"\s(?:-{1,3}|–)\s|–|--+", " — "),
    rule(r"\|", ", "),
)
