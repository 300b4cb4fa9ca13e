"""What is said, to the word, of what is written."""

import time

import pytest

from antiphon.media.speech.normalise import normalise


def said(pairs):
    """Pairs of what is written and what is said of it."""
    return pytest.mark.parametrize(("written", "spoken"), list(pairs.items()), ids=list(pairs))


@said(
    {
        "$0.0015": "zero point zero zero one five dollars",
        "$0.05": "five cents",
        "$.50": "fifty cents",
        "$1": "one dollar",
        "$3.50, or": "three dollars and fifty cents, or",
        "$3.5 million": "three point five million dollars",
        "$100k": "one hundred thousand dollars",
        "$10-15": "ten to fifteen dollars",
        "$1.5M-$2M": "one point five million dollars to two million dollars",
        "$5/month": "five dollars per month",
        "-$5": "minus five dollars",
        "£1.01": "one pound and one penny",
        "20 €": "twenty euros",
    }
)
def test_money_is_said_behind_its_amount(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "100k users": "one hundred thousand users",
        "1.2M downloads": "one point two million downloads",
        "7B": "seven billion",
        "3x faster": "three times faster",
        "1,234,567": "one million two hundred thirty four thousand five hundred sixty seven",
        "1 000 000": "one million",
        "0.5": "zero point five",
        ".5": "point five",
        "-3": "minus three",
        "1.5e-3": "one point five times ten to the minus three",
        "10⁻³": "ten to the power of minus three",
        "007": "zero zero seven",
        "5+": "five plus",
        "16:9": "sixteen to nine",
        "25%": "twenty five percent",
        "3.5%": "three point five percent",
        "1st, 2nd, 3rd and 21st": "first, second, third and twenty first",
        "1920x1080": "one thousand nine hundred twenty by one thousand eighty",
    }
)
def test_a_number_is_said_with_its_scale(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "2 * 3": "two times three",
        "2*3": "two times three",
        "2 × 3": "two times three",
        "5 - 3": "five minus three",
        "5-3=2": "five minus three equals two",
        "6 / 2": "six divided by two",
        "2^10": "two to the power of ten",
        "2**10": "two to the power of ten",
        "E = mc²": "E equals mc squared",
        "2x + 3": "two x plus three",
        "x >= 5": "x at least five",
        "a ≠ b": "a is not equal to b",
        "π": "pi",
    }
)
def test_a_sum_is_said_and_its_star_is_no_emphasis(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "10-15 people": "ten to fifteen people",
        "10–15%": "ten to fifteen percent",
        "5-10 kg": "five to ten kilograms",
        "1990-1995": "nineteen ninety to nineteen ninety five",
        "-5 to -10 °C": "minus five to minus ten degrees Celsius",
        "9:00-17:00": "nine o'clock to seventeen hundred",
        "9am–5pm": "nine A M to five P M",
        "March 3-5": "March third to fifth",
    }
)
def test_a_range_is_said_with_to(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "1 kg": "one kilogram",
        "2 kg": "two kilograms",
        "1.5 kg": "one point five kilograms",
        "5 km/h": "five kilometers per hour",
        "100 MB/s": "one hundred megabytes per second",
        "20 °C": "twenty degrees Celsius",
        "1 °F": "one degree Fahrenheit",
        "5 m²": "five square meters",
        "1 ft, 2 ft": "one foot, two feet",
        "30s": "thirty seconds",
        "16GB": "sixteen gigabytes",
        "5'10\" tall": "five foot ten tall",
    }
)
def test_a_measure_agrees_with_its_amount(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "1/2": "one half",
        "3/4": "three quarters",
        "2/3": "two thirds",
        "1 1/2": "one and a half",
        "2½ cups": "two and a half cups",
        "5 3/4": "five and three quarters",
        "22/7": "twenty two over seven",
        "9.5/10": "nine point five out of ten",
        "10/10": "ten out of ten",
        "24/7": "twenty four seven",
    }
)
def test_a_fraction_is_said_by_its_parts(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "2026-11-24": "November twenty fourth, twenty twenty six",
        "2026-11-24T14:00:00Z": "November twenty fourth, twenty twenty six, fourteen hundred U T C",
        "12/25/2024": "December twenty fifth, twenty twenty four",
        "24/12/2024": "December twenty fourth, twenty twenty four",
        "Jan. 5, 2005": "January fifth, two thousand five",
        "5 May": "May fifth",
        "Jan 2024": "January twenty twenty four",
        "1980s": "nineteen eighties",
        "in the 80s": "in the eighties",
        "3:05 pm": "three oh five P M",
        "14:00": "fourteen hundred",
        "14:30": "fourteen thirty",
        "9:00": "nine o'clock",
        "at 3 p.m.": "at three P M.",
        "at 3 p.m. or": "at three P M or",
        "1:02:03": "one, two and three seconds",
        "2026-13-45": "twenty twenty six thirteen forty five",
    }
)
def test_a_day_and_a_time_are_said_as_such(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "Main St.": "Main Street.",
        "on Main St. in town": "on Main Street in town",
        "on Main St. He left.": "on Main Street. He left.",
        "in St. Louis": "in Saint Louis",
        "Dr. Smith": "Doctor Smith",
        "Sunset Dr.": "Sunset Drive.",
        "Mr. and Mrs. Bell": "Mister and Missus Bell",
        "e.g. cats": "for example, cats",
        "e.g., cats": "for example, cats",
        "i.e. dogs": "that is, dogs",
        "cats, etc. are": "cats, et cetera are",
        "cats, etc.": "cats, et cetera.",
        "No. 5": "number five",
        "No.": "No.",
        "No. That is wrong.": "No. That is wrong.",
        "pp. 5-7": "pages five to seven",
        "Fig. 3": "Figure three",
        "#1": "number one",
        "and/or": "and or",
        "he/she": "he or she",
        "w/o milk, w/ sugar": "without milk, with sugar",
        "Bob a.k.a. Rob": "Bob also known as Rob",
        "c. 1850": "circa eighteen fifty",
        "Gen. Lee and Rep. Fox": "General Lee and Representative Fox",
        "John F. Kennedy": "John F Kennedy",
        "Plan B. Then": "Plan B. Then",
    }
)
def test_a_short_form_is_said_in_full_and_ends_a_sentence_where_it_does(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "Henry VIII": "Henry the eighth",
        "Louis XIV was": "Louis the fourteenth was",
        "Elizabeth I was": "Elizabeth the first was",
        "When Henry I met": "When Henry I met",
        "World War II": "World War two",
        "Chapter IV": "Chapter four",
        "Act I": "Act one",
        "Super Bowl LVIII": "Super Bowl fifty eight",
        "Rocky II": "Rocky two",
        "Halley III": "Halley three",
        "the IV drip": "the IV drip",
        "Henry L": "Henry L",
        "Malcolm X": "Malcolm X",
        "Chapter IIII": "Chapter IIII",
    }
)
def test_a_roman_numeral_is_said_as_a_number_behind_a_name(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "555-123-4567": "five five five, one two three, four five six seven",
        "(555) 123-4567": "five five five, one two three, four five six seven",
        "+49 30 1234567": "plus four nine, three zero, one two three four five six seven",
        "555-1234": "five five five, one two three four",
        "500-1000 users": "five hundred to one thousand users",
        "v1.2.3": "version one point two point three",
        "2.0.1": "two point zero point one",
        "v2.0.0-rc1": "version two point zero point zero rc one",
        "Python 3.11": "Python three point eleven",
        "192.168.0.1": "one hundred ninety two dot one hundred sixty eight dot zero dot one",
        "0xFF": "hex F F",
        "#ff8800": "hex F F eight eight zero zero",
        "a1b2c3d4": "A one B two, C three D four",
        "550e8400-e29b-41d4-a716-446655440000": (
            "five five zero E eight four zero zero, E two nine B, four one D four, A seven one six, "
            "four four six six five five four four zero zero zero zero"
        ),
    }
)
def test_what_is_dialled_or_copied_is_said_digit_by_digit(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "config.yaml": "config dot yaml",
        "main.py": "main dot P Y",
        "src/my_app/cli.ts": "src slash my underscore app slash cli dot T S",
        "/etc/nginx/nginx.conf": "slash etc slash nginx slash nginx dot conf",
        "~/notes": "tilde slash notes",
        "https://example.com/docs?x=1": "example dot com slash docs question mark x equals one",
        "See https://example.com/.": "See example dot com.",
        "(https://a.org/b_(c))": "(a dot org slash b underscore c)",
        "me@example.org": "me at example dot org",
        "a.b+c@d-e.museum": "a dot B plus c at d dash e dot museum",
        "example.io": "example dot I O",
        "localhost:8000": "localhost colon eight zero zero zero",
    }
)
def test_an_address_is_said_sign_by_sign(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "C# and C++.": "C sharp and C plus plus.",
        ".NET": "dot net",
        "Node.js": "Node dot J S",
        "NASA": "NASA",
        "HTTP": "H T T P",
        "URLs and an API's": "U R L's and an A P I's",
        "the US army": "the U S army",
        "GIVE US": "GIVE US",
        "in the U.S.": "in the U S.",
        "AT&T and R&D": "A T and T and R and D",
        "IT is": "I T is",
        "DO IT NOW": "DO IT NOW",
        "GPT-4": "G P T four",
        "COVID-19": "COVID nineteen",
        "H2O": "H two O",
        "JSON": "jason",
        "snake_case and parseHTTP2Request": "snake case and parse HTTP two Request",
        "Ph.D.": "P H D",
        "A dog. A cat, vitamin A is": "a dog. a cat, vitamin A is",
    }
)
def test_a_name_is_spelled_when_one_spells_it(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "<b>bold</b>": "bold",
        "<p>Hi <a href='x'>you</a><br/>there</p>": "Hi you there",
        "this &amp; that": "this and that",
        "so<!-- not this --> on": "so on",
        "**10** kg, _10_ kg, `10` kg": "ten kilograms, ten kilograms, ten kilograms",
        "## Heading ##": "Heading",
        "``` yaml title": "",
        "~~~": "",
        "```sh ls```": "ls",
        "one | two, and|or": "one, two, and, or",
        "**bold** and *it* and ***both*** and __so__ and _so_": "bold and it and both and so and so",
        "**Half of it.": "Half of it.",
        "## Heading": "Heading",
        "- item": "item",
        "* item": "item",
        "- [ ] task": "task",
        "1. first": "one. first",
        "> quoted": "quoted",
        "~~old~~": "old",
        "[text](https://x.org/a_(b))": "text",
        "![alt](a.png)": "alt",
        "[![alt](a.png)](https://x.org)": "alt",
        "said[^1] [so][ref]": "said so",
        "`code span`": "code span",
        "```python\nx = 1\n```": "x equals one",
        "| a | b |": "a, b",
        "| --- | :-: |": "",
        "---": "",
        r"\*as it is\*": "as it is",
    }
)
def test_marks_for_the_eye_are_not_said(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "Tom & Jerry": "Tom and Jerry",
        "@user": "at user",
        "#topic": "hashtag topic",
        "yes - no": "yes — no",
        "well-known": "well known",
        "New York–London": "New York to London",
        "a -> b": "a to b",
        "don’t “go”": 'don\'t "go"',
        "Hi 😀!": "Hi!",
        "👨‍👩‍👧 family": "family",
        "fine :)": "fine",
        "∞": "infinity",
    }
)
def test_a_sign_is_said_by_its_name_or_not_at_all(written, spoken):
    assert normalise(written) == spoken


@said(
    {
        "Øystein, Łódź, café, Müller, Straße": "Oystein, Lodz, cafe, Muller, Strasse",
        "Mu\u0308ller": "Muller",
        "Привет, Юля": "Privet, Yulya",
        "Αθήνα": "Athina",
        "Hello 世界 there": "Hello Chinese text there",
        "你好，世界。": "Chinese text.",
        "これは日本語です": "Japanese text",
        "안녕하세요": "Korean text",
        "مرحبا": "Arabic text",
        "नमस्ते": "Hindi text",
        "٤٢": "forty two",
        "ｆｕｌｌ": "full",
        "\ud800\x00": "",
    }
)
def test_every_letter_is_said_or_its_script_named(written, spoken):
    assert normalise(written) == spoken


HOSTILE = [
    *("1", "*", "(", "[", "<", "_", "`", ".", "-", "/", "@", "#", "|", "$", " ", "\n", "a", "A", "é", "世", "😀"),
    *(
        "1.",
        "1/",
        "1-",
        "1 ",
        "1:",
        "1,111",
        "a.",
        "a@",
        "a/",
        "A.",
        "I ",
        "$1",
        "[a](",
        "<b",
        "Henry I ",
        "http://",
        "e.g.",
    ),
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece):
    """By the processor's time and that of a tenth of the text, so that no busy or slow machine fails it."""
    assert _seconds(piece, 100_000) < 0.5 + 20 * _seconds(piece, 10_000)


@pytest.mark.parametrize("piece", ["1", "*", "("])
def test_a_hundred_thousand_of_the_same_sign_take_no_more_time_than_three_times_as_many_words(piece):
    """By the processor's time: 0.9 s beside 0.6 on a slow machine."""
    signs, words = zip(*((_seconds(piece, 100_000), _seconds("word ", 100_000)) for _ in range(3)), strict=True)
    assert min(signs) < 3 * min(words)


def _seconds(piece, length):
    text = (piece * length)[:length]
    begun = time.process_time()
    normalise(text)
    return time.process_time() - begun


def test_nothing_behind_the_first_pages_is_left_unsaid():
    assert normalise("word " * 5_000 + "end").split() == ["word"] * 5_000 + ["end"]
