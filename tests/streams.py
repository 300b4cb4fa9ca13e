"""A prediction's event stream as a client reads it."""

import json
from dataclasses import dataclass

import httpx

CLIENT = httpx.Client(timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=0))
"""One for all: making one takes longer than most of what it is used for."""


@dataclass(frozen=True)
class Event:
    id: str
    kind: str
    data: dict


def events_of(text):
    """Every event of a stream's text; each must have exactly its three lines."""
    frames = [frame for frame in text.split("\n\n") if frame and not frame.startswith(":")]
    return [_event(frame) for frame in frames]


def _event(frame):
    names, values = zip(*(line.split(": ", 1) for line in frame.split("\n")), strict=True)
    assert names == ("id", "event", "data"), frame
    return Event(values[0], values[1], json.loads(values[2]))


def stream(server, key, after=None, **headers):
    """The events of a prediction, from some place on until the server closes."""
    query = {"after_id": after} if after is not None else {}
    url = f"{server.url}/v1/predictions/{key}/stream"
    answer = CLIENT.get(url, params=query, headers=server.headers | headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    return events_of(answer.text)


def said(events):
    """What the chunks among some events say of each choice, however they are cut."""
    told = {}
    for choice in (one for event in events if event.kind == "output" for one in event.data["choices"]):
        so_far = told.setdefault(choice["index"], {"role": "", "calls": {}, "logprobs": [], "reason": None})
        assert so_far["reason"] is None, "told after its end"
        so_far["reason"] = choice["finish_reason"]
        so_far["logprobs"] += (choice["logprobs"] or {}).get("content", [])
        for name, value in choice["delta"].items():
            if name == "tool_calls":
                for call in value:
                    _merge(so_far["calls"].setdefault(call["index"], {}), call)
            elif name == "function_call":
                _merge(so_far["calls"].setdefault("legacy", {}), value)
            elif value is not None:
                so_far[name] = so_far.get(name, "") + value
    return told


def _merge(into, call):
    """Join a call's pieces as clients do: texts one after another, so a repeated id or name shows."""
    for name, value in call.items():
        if isinstance(value, dict):
            _merge(into.setdefault(name, {}), value)
        elif name != "index":
            into[name] = into.get(name, "") + value


def post(server, path, body, **headers):
    """Send JSON; give the response."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    sent = server.headers | {"content-type": "application/json"} | named
    return CLIENT.post(server.url + path, content=json.dumps(body), headers=sent)
