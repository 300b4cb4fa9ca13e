"""Structured outputs on the real model: an answer satisfies its schema, is cut, or its schema is refused by name.

Random schemas of the dialects that openai-python's `parse` and zod write, and the group SO of the fault list.
"""

import json
import re
import socket
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import httpx
import jsonschema_rs
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.conftest import REAL

QUICK_S = 0.1
PROMPT = [{"role": "system", "content": "JSON."}]
GOOD = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "integer", "minimum": 1, "maximum": 9}},
    "required": ["city", "days"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def link(house):
    """A connection that stays open: what is measured is the server."""
    with httpx.Client(base_url=house.url, headers=house.headers, timeout=60) as client:
        yield client


def asked(link, **fields):
    body = {"model": REAL, "messages": PROMPT, "temperature": 1, "max_completion_tokens": 200, **fields}
    return sent(link, json.dumps(body))


def sent(link, body, **headers):
    wanted = {"content-type": "application/json", **headers}
    return link.post("/v1/chat/completions", content=body, headers=wanted)


def formatted(schema):
    return {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": True}}}


def tooled(schema):
    return {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": schema, "strict": True}}],
        "tool_choice": "required",
    }


def is_valid(text, schema):
    options = jsonschema_rs.RegexOptions()
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True, pattern_options=options)
    try:
        return validator.is_valid(json.loads(text))
    except ValueError:
        return False


def outcome(response, schema, param):
    """What became of a request: "stop", "length", "refused", or a sentence about what is wrong with it."""
    if response.status_code != 200:
        error = response.json()["error"]
        is_clean = response.status_code == 422 or (response.status_code, error["code"]) == (400, "unsupported_value")
        named = (error["param"] or "").startswith(param)
        return "refused" if is_clean and named else f"{response.status_code} {response.text}"
    choice = response.json()["choices"][0]
    if choice["finish_reason"] == "length":
        return "length"
    message = choice["message"]
    texts = [call["function"]["arguments"] for call in message.get("tool_calls", ())] or [message["content"]]
    if choice["finish_reason"] not in {"stop", "tool_calls"} or len(texts) != 1 or not is_valid(texts[0], schema):
        return f"{choice['finish_reason']} {texts}"
    return "stop"


# -- random schemas

NAMES = st.sampled_from(
    ["a", "id", "first_name", "größe", "名前", "ключ", "e\u0301", "🙂", "a b", 'quo"te', "back\\slash", "$x"]
)
BOUNDS = st.integers(-1000, 1000)
REFERENCE = {"$ref": "#/$defs/Shared"}
SELF = {"$ref": "#/$defs/Node"}


@st.composite
def numbers(draw):
    kind = draw(st.sampled_from(["integer", "number"]))
    low = draw(BOUNDS)
    bounds = [
        {"minimum": low, "maximum": low + draw(st.integers(0, 500))},
        {"minimum": low},
        {"maximum": low},
        {"exclusiveMinimum": 0, "maximum": 50},
        {"minimum": -9007199254740991, "maximum": 9007199254740991},  # zod's int()
        {"minimum": 0.5, "maximum": 7.25},
    ]
    return {"type": kind, **draw(st.sampled_from(bounds))}


TEXTS = st.one_of(
    st.builds(lambda most: {"type": "string", "maxLength": most}, st.integers(0, 8)),
    st.builds(lambda least: {"type": "string", "minLength": least, "maxLength": 8}, st.integers(0, 8)),
    st.sampled_from(["^[a-c]{1,4}$", "^\\d{3}-\\d{2}$", "^(on|off)$", "^[A-Z][a-z]{0,5}$", "^é?x+y$", "^\\w{2}$"]).map(
        lambda pattern: {"type": "string", "pattern": pattern}
    ),
    st.sampled_from(["date", "uuid"]).map(lambda form: {"type": "string", "format": form}),
)
VALUES = st.one_of(
    st.sampled_from(["red", "", "grün", 'a"b', "tab\t", "日"]), st.integers(-99, 99), st.booleans(), st.none()
)
LEAVES = st.one_of(
    numbers(),
    TEXTS,
    st.just({"type": "boolean"}),
    st.just({"type": "null"}),
    st.lists(VALUES, min_size=1, max_size=4, unique_by=lambda value: (type(value), value)).map(lambda e: {"enum": e}),
    st.lists(st.sampled_from(["x", "yy", "ž"]), min_size=1, unique=True).map(lambda e: {"type": "string", "enum": e}),
    VALUES.map(lambda value: {"const": value}),
    st.sampled_from(["string", "integer"]).map(lambda kind: {"type": [kind, "null"], "maxLength": 5, "maximum": 20}),
    st.just(REFERENCE),
)


@st.composite
def objects(draw, inner, most=4):
    names = draw(st.lists(NAMES, max_size=most, unique=True))
    properties = {name: draw(inner) for name in names}
    required = names if draw(st.booleans()) else [name for name in names if draw(st.booleans())]
    titled = {"title": "Ttl", "description": "d"} if draw(st.booleans()) else {}
    body = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return titled | body


@st.composite
def arrays(draw, inner):
    least = draw(st.integers(0, 2))
    return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": draw(st.integers(least, 3))}


def nullable(inner):
    return inner.map(lambda schema: {"anyOf": [schema, {"type": "null"}]})


@st.composite
def unions(draw, inner):
    """Of objects told apart by a constant, as both write discriminated unions."""
    ways = []
    for kind in ("one", "two"):
        way = draw(objects(inner, 2))
        way["properties"] = {"kind": {"type": "string", "const": kind}} | way["properties"]
        ways.append(way | {"required": ["kind", *way["required"]]})
    return {"anyOf": ways}


INNER = st.recursive(
    LEAVES, lambda inner: st.one_of(objects(inner, 2), arrays(inner), nullable(inner), unions(inner)), max_leaves=3
)


@st.composite
def schemas(draw, most):
    root = draw(objects(INNER, most))
    definitions = {"Shared": draw(st.one_of(TEXTS, numbers(), objects(TEXTS, 2)))}
    if draw(st.integers(0, 14)) == 7:
        ways = [{"anyOf": [SELF, {"type": "null"}]}, {"type": "array", "items": SELF, "maxItems": 2}]
        node = draw(objects(TEXTS, 1))
        node["properties"] |= {"next": draw(st.sampled_from(ways))}
        definitions["Node"] = node | {"required": [*node["required"], "next"]}
        root["properties"] |= {"tree": SELF}
        root["required"] = [*root["required"], "tree"]
    return root | {"$defs": definitions}


def some(count, most):
    """The same different schemas in every run."""
    found = {}

    # What hypothesis is used for is its schemas: they are gathered first, and asked for several at a time.
    @settings(
        max_examples=3 * count,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(schemas(most))
    def gather(schema):
        if len(found) < count:
            found.setdefault(json.dumps(schema), schema)

    gather()
    assert len(found) == count
    return list(found.values())


def tried(link, count, most, fields, param):
    """Ask with random schemas; give how often each outcome came, having asserted that each is a good one."""

    def ask(seed, schema):
        return outcome(asked(link, seed=seed, **fields(schema)), schema, param)

    asked_for = some(count, most)
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(ask, range(count), asked_for))
    bad = [
        f"{ended}\n  of {json.dumps(schema)}"
        for ended, schema in zip(outcomes, asked_for, strict=True)
        if ended not in {"stop", "length", "refused"}
    ]
    assert not bad, "\n".join(bad)
    return Counter(outcomes)


@pytest.mark.long
@pytest.mark.timeout(240)
def test_answers_satisfy_random_schemas_or_are_cut_or_refused_by_name(link):
    outcomes = tried(link, 200, 3, formatted, "response_format")
    assert outcomes["stop"] >= 0.8 * outcomes.total(), outcomes


@pytest.mark.long
@pytest.mark.timeout(240)
def test_required_calls_satisfy_random_parameters_or_are_cut_or_refused_by_name(link):
    # Smaller ones: the model reads the parameters too.
    outcomes = tried(link, 12, 2, tooled, "tools[0].function.parameters")
    assert outcomes["stop"] >= 0.8 * outcomes.total(), outcomes


# -- the fault list


def nested(depth):
    """A schema that nests so deep, as text."""
    pairs = (depth - 1) // 2
    inner = '{"type":"null"}' if depth % 2 else '{"enum":[1]}'
    return '{"properties":{"a":' * pairs + inner + "}}" * pairs


def body_of(schema_text, fields=formatted):
    whole = {"model": REAL, "messages": PROMPT, "max_completion_tokens": 60, **fields({"here": 1})}
    return json.dumps(whole).replace('{"here": 1}', schema_text)


def quickest(link, body, tries=5):
    """The response, and the least time the server says it took: what else runs on this machine is not the server's."""
    best = QUICK_S * 100
    for _ in range(tries):
        response = sent(link, body)
        best = min(best, int(response.headers["openai-processing-ms"]) / 1000)
        if best < QUICK_S:
            break
    return response, best


def assert_refused_quickly(link, body, field, statuses=(422,)):
    response, seconds = quickest(link, body)
    assert response.status_code in statuses, response.text
    assert field in json.dumps(response.json()["error"], ensure_ascii=False)
    assert seconds < QUICK_S


def assert_still_works(link):
    response = asked(link, **formatted(GOOD))
    assert outcome(response, GOOD, "") == "stop", response.text


MALFORMED = {
    "a list": "[]",
    "a text": '"object"',
    "a number": "7",
    "an unknown type": '{"type":"strin"}',
    "a bound that is a text": '{"type":"integer","minimum":"3"}',
    "properties that are a list": '{"type":"object","properties":["a"]}',
    "required that is a text": '{"type":"object","required":"a"}',
    "an empty enum of the wrong kind": '{"enum":"a"}',
    "65 KiB": json.dumps({"type": "string", "description": "x" * 65 * 1024}),
    "17 levels": nested(17),
}


@pytest.mark.parametrize("kind", MALFORMED)
def test_so_01_a_malformed_schema_is_refused_by_name_and_the_next_request_is_answered(link, kind):
    assert_refused_quickly(link, body_of(MALFORMED[kind]), "response_format")
    assert_still_works(link)


def test_so_01_a_schema_of_20_000_levels_is_refused_before_it_is_read(link):
    assert_refused_quickly(link, body_of(nested(20_001)), "nests too deeply")
    assert_still_works(link)


def test_so_01_a_schema_of_16_levels_is_not_too_deep(link):
    assert sent(link, body_of(nested(15))).status_code == 200


def test_so_02_a_grammar_of_60_000_parentheses_never_reaches_the_engine(link):
    parentheses = "root ::= " + "(" * 60_000 + '"a"' + ")" * 60_000
    body = json.dumps({"model": REAL, "messages": PROMPT, "max_completion_tokens": 2, "grammar": parentheses})
    strict = sent(link, body, prefer="handling=strict")
    assert (strict.status_code, strict.json()["error"]["param"]) == (422, "grammar")
    lenient = sent(link, body)
    assert (lenient.status_code, lenient.headers["x-antiphon-ignored"]) == (200, "grammar")
    assert_still_works(link)


@pytest.mark.parametrize(
    "property_text",
    ['{"type":"strin"}', '{"type":"string","pattern":"[z-a]"}', '{"type":"string","pattern":"^(a$"}', '{"enum":3}'],
)
def test_so_03_a_malformed_parameter_is_refused_at_its_tool(link, property_text):
    body = body_of(f'{{"type":"object","properties":{{"a":{property_text}}}}}', tooled)
    response, seconds = quickest(link, body)
    assert response.status_code == 422, response.text
    assert response.json()["detail"][0]["loc"][:3] == ["body", "tools", 0]
    assert seconds < QUICK_S
    assert_still_works(link)


PATTERNS = [
    "foo**",
    "^(a$",
    "(?<=x)*[",
    "(?<=x)y",
    "foo",
    "a" * 513,
    "(" * 500 + "a" + ")" * 500,
    "^(?!no)",
    "^(a)\\1$",
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern[:12])
def test_so_04_a_pattern_is_enforced_or_refused_by_name(link, pattern):
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": pattern}}, "required": ["a"]}
    for fields, param in ((formatted, "response_format"), (tooled, "tools[0].function.parameters")):
        response = asked(link, **fields(schema) | {"max_completion_tokens": 60})
        assert response.status_code in {200, 400, 422}
        ended = "refused" if response.status_code != 200 else outcome(response, schema, param)
        assert ended in {"stop", "length", "refused"}
        if ended == "refused":
            assert response.json()["error"]["param"].startswith(param), response.text
    assert_still_works(link)


def prop(**schema):
    return json.dumps({"type": "object", "properties": {"a": schema}, "required": ["a"], "additionalProperties": False})


COSTLY = {
    "a billion repeats": prop(type="string", pattern="^a{1,1000000000}$"),
    "repeats of repeats": prop(type="string", pattern="^((a{1,1000}){1,1000}){1,1000}$"),
    "a million items": prop(type="array", items={"type": "null"}, minItems=10**6),
    "two billion characters": prop(type="string", minLength=2 * 10**9),
    "100,000 values": prop(enum=[f"v{number}" for number in range(100_000)]),
    "90,000 values": prop(enum=list(range(90_000))),
    "references that double": json.dumps(
        {
            "$defs": {f"a{step}": {"allOf": [{"$ref": f"#/$defs/a{step + 1}"}] * 2} for step in range(60)}
            | {"a60": {"type": "null"}},
            "$ref": "#/$defs/a0",
        }
    ),
}


@pytest.mark.parametrize("kind", COSTLY)
def test_so_05_a_schema_that_would_cost_minutes_is_refused_at_once(link, kind):
    assert_refused_quickly(
        link, body_of(COSTLY[kind]), "too many values" if kind == "100,000 values" else "response_format", (400, 422)
    )
    assert_still_works(link)


def test_so_05_patterns_that_must_all_hold_at_once_are_refused_within_seconds_and_others_are_answered(house, link):
    # 26 words that a text has to have in any order: whether there is one takes llguidance for ever and all memory.
    ways = [{"pattern": f"[a-z]*{letter}[a-z]*"} for letter in "abcdefghijklmnopqrstuvwxyz"]
    begun = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        costly = pool.submit(asked, link, **formatted({"type": "string", "allOf": ways}))
        other = pool.submit(asked, link, **formatted(GOOD))
    assert outcome(costly.result(), {}, "response_format") == "refused", costly.result().text
    assert outcome(other.result(), GOOD, "") == "stop", other.result().text
    assert time.perf_counter() - begun < 20, "its compiling never ended"


HARMLESS = {
    "nested quantifiers": {"type": "string", "pattern": "(a+)+$"},
    "at most two billion characters": {"type": "string", "maxLength": 2 * 10**9},
    "at most a million items": {"type": "array", "items": {"type": "null"}, "maxItems": 10**6},
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_so_05_a_schema_that_only_looks_costly_is_answered_or_refused_in_seconds(link, kind):
    begun = time.perf_counter()
    response = asked(link, **formatted(HARMLESS[kind]) | {"max_completion_tokens": 40})
    assert outcome(response, HARMLESS[kind], "response_format") in {"stop", "length", "refused"}
    assert time.perf_counter() - begun < 15, "on a busy machine too"
    assert_still_works(link)


@pytest.fixture
def stranger():
    """A listener that a schema names, and how often it was called."""
    calls = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def listen():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                calls.append(connection)
                connection.close()

        threading.Thread(target=listen, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/schema.json", calls
        server.shutdown(socket.SHUT_RDWR)


REFERENCES = {
    "to itself": {"$ref": "#"},
    "in a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "to nothing": {"$ref": "#/$defs/missing"},
    "to a stranger": {"$ref": "HERE"},
    "to a stranger from a property": {"type": "object", "properties": {"a": {"$ref": "HERE#/x"}}, "required": ["a"]},
    "relative to a stranger": {"$id": "HERE", "$ref": "other.json"},
    "to a file": {"$ref": "file:///etc/passwd"},
    "to a stranger's dialect": {"$schema": "HERE", "type": "string"},
    "dynamic": {"$dynamicRef": "#node"},
    "dynamic and anchored": {"$dynamicAnchor": "node", "type": "object", "properties": {"a": {"$dynamicRef": "#node"}}},
}


@pytest.mark.parametrize("kind", REFERENCES)
@pytest.mark.parametrize("fields", [formatted, tooled])
def test_so_06_a_reference_that_leads_nowhere_is_refused_and_never_followed(link, stranger, kind, fields):
    address, calls = stranger
    body = body_of(json.dumps(REFERENCES[kind]).replace("HERE", address), fields)
    assert_refused_quickly(link, body, "response_format" if fields is formatted else "tools", (400, 422))
    assert calls == []
    assert_still_works(link)


def test_so_07_good_and_bad_schemas_at_once_do_not_touch_one_another(house):
    texts = [*MALFORMED.values(), *(text for kind, text in COSTLY.items() if "values" not in kind)]

    def visit(thread):
        found = []
        with httpx.Client(base_url=house.url, headers=house.headers, timeout=60) as link:
            for turn in range(5):
                if (thread + turn) % 2:
                    found.append(outcome(asked(link, **formatted(GOOD)), GOOD, ""))
                else:
                    bad = sent(link, body_of(texts[(5 * thread + turn) % len(texts)]))
                    found.append("refused" if bad.status_code in {400, 422} else bad.text)
        return found

    with ThreadPoolExecutor(10) as pool:
        found = Counter(one for visited in pool.map(visit, range(10)) for one in visited)
    assert found == {"stop": 25, "refused": 25}


@pytest.mark.parametrize(
    "text", ["{}", '{"type":"number"}', '{"type":"string"}', '{"type":"array"}', '{"type":"object"}']
)
def test_so_08_an_answer_without_bounds_ends_with_its_tokens(link, text):
    for seed in range(4):
        response = asked(link, **formatted(json.loads(text)) | {"max_completion_tokens": 40, "seed": seed})
        assert outcome(response, json.loads(text), "") in {"stop", "length"}, response.text
        assert response.json()["usage"]["completion_tokens"] <= 40


def test_so_08_a_schema_that_is_no_object_is_refused(link):
    for text in ("true", "false"):
        assert_refused_quickly(link, body_of(text), "response_format")


# -- what the words of a schema mean


@pytest.mark.parametrize(
    ("schema", "means"),
    [
        ({"type": "string", "format": "uuid"}, lambda value: str(UUID(value)) == value.lower()),
        ({"type": "string", "format": "date"}, lambda value: re.fullmatch(r"\d{4}-\d\d-\d\d", value)),
        ({"type": "string", "minLength": 3, "maxLength": 3}, lambda value: len(value) == 3),
        ({"type": "integer", "minimum": 41, "maximum": 43}, lambda value: value in {41, 42, 43}),
        ({"const": 'e\u0301 "quoted" \\ 🙂'}, lambda value: value == 'e\u0301 "quoted" \\ 🙂'),
    ],
)
def test_a_keyword_holds_at_any_temperature(link, schema, means):
    for seed in range(3):
        response = asked(link, **formatted(schema), seed=seed, temperature=2)
        assert means(json.loads(response.json()["choices"][0]["message"]["content"]))


@pytest.mark.parametrize(("pattern", "text"), [(r"a\\/b", r"a\/b"), (r"a\/b", "a/b"), ("a/b", "a/b")])
def test_a_slash_in_a_tools_pattern_is_a_slash_whatever_stands_before_it(link, pattern, text):
    form = {"type": "grammar", "grammar": {"syntax": "regex", "definition": pattern}}
    tools = [{"type": "custom", "custom": {"name": "c", "format": form}}]
    response = asked(link, tools=tools, tool_choice="required")
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["message"]["tool_calls"][0]["custom"]["input"] == text
