"""What the server and its engine child say to each other: msgpack messages behind a 4-byte length, on a unix socket.

The child tells one `Said` a step and connection, with everything that step produced for it.
"""

import struct
from collections.abc import Iterator

import msgspec

LENGTH = struct.Struct(">I")
FRAME_BYTES = 128 * 1024 * 1024
"""The largest frame either side reads: a request may bring sixteen pictures of 5 MB."""


class Picture(msgspec.Struct, array_like=True, frozen=True, tag="picture"):
    """A picture in a message."""

    at: int
    """How many characters of the message's text come before it."""
    width: int
    height: int
    rgb: bytes


class Sound(msgspec.Struct, array_like=True, frozen=True, tag="sound"):
    """A sound in a message."""

    at: int
    pcm: bytes
    """One channel, domain.media.HEARD_HZ, signed 16-bit little-endian."""


class Turn(msgspec.Struct, array_like=True, frozen=True):
    """One message of the conversation."""

    role: str
    text: str
    name: str | None = None
    calls: tuple[tuple[str | None, str, str], ...] = ()
    """Earlier tool calls: id, name, arguments."""
    call_id: str | None = None
    media: tuple[Picture | Sound, ...] = ()
    """In the order of their places."""


class Grammar(msgspec.Struct, array_like=True, frozen=True):
    """What an answer must be."""

    text: str
    """All of it, as llguidance reads it."""
    parts: tuple[tuple[str, str], ...]
    """Each part that a client wrote, behind the field it came by: to say which one is at fault."""


class Start(msgspec.Struct, tag="start", frozen=True):
    """Begin a request."""

    id: bytes
    """The prediction's 16 bytes."""
    account: str
    turns: tuple[Turn, ...]
    n: int
    max_tokens: int | None
    stop: tuple[str, ...]
    temperature: float
    top_p: float
    frequency_penalty: float
    presence_penalty: float
    logit_bias: dict[int, float]
    seed: int | None
    logprobs: int
    """How many alternatives with each token; -1 when no log-probabilities are wanted at all."""
    tools: str = ""
    """The functions as JSON, for a template that describes them."""
    knobs: dict[str, str | bool] = {}
    """Further variables of the template."""
    grammar: Grammar | None = None
    prediction: str | None = None
    thinking_tokens: int | None = None
    """How many tokens of thinking before it is closed; None: as many as the model likes."""


class Cancel(msgspec.Struct, tag="cancel", frozen=True):
    """Stop a request; answered by Ended once nothing of it runs any more."""

    id: bytes


class Ask(msgspec.Struct, tag="ask", frozen=True):
    """Ask how the engine is; answered by State."""


class Logprob(msgspec.Struct, array_like=True, frozen=True):
    """A token with its log-probability and its likeliest alternatives."""

    piece: bytes
    logprob: float
    top: tuple["Logprob", ...] = ()


class Accepted(msgspec.Struct, tag="accepted", frozen=True):
    """A request fits and its reading has begun."""

    id: bytes
    prompt_tokens: int
    cached_tokens: int
    is_thinking: bool = False
    """Whether the prompt ends inside the model's thinking."""
    audio_tokens: int = 0
    """How many of the prompt's tokens are places of sounds."""


class Text(msgspec.Struct, tag="text", frozen=True):
    """More text of one choice."""

    id: bytes
    choice: int
    text: str
    tokens: int
    logprobs: tuple[Logprob, ...] = ()
    accepted: int = 0
    rejected: int = 0


class ChoiceEnded(msgspec.Struct, tag="choice", frozen=True):
    """One choice has all its text."""

    id: bytes
    choice: int
    reason: str
    tokens: int
    accepted: int = 0
    rejected: int = 0


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """Nothing of a request runs any more: it finished, was cancelled or was refused."""

    id: bytes
    error: str | None = None
    """None, or which error: "context", "template", "bias", "grammar", "failed"."""
    message: str = ""
    param: str | None = None


class Ready(msgspec.Struct, tag="ready", frozen=True):
    """The first thing the child says to each connection."""

    context_tokens: int
    vocabulary: int
    pid: int
    calls: str = ""
    """The format in which the model's template writes tool calls; empty when it knows none."""
    thinking: str = ""
    """How the model thinks: "think", "channels", or not at all."""
    knobs: tuple[str, ...] = ()
    """Which of `enable_thinking`, `reasoning_effort` and `verbosity` its template has."""
    sees: bool = False
    hears: bool = False


class State(msgspec.Struct, tag="state", frozen=True):
    """The engine's own state, for health answers and tests."""

    requests: int
    """Requests not yet ended, waiting ones included."""
    reading: int
    """Sequences whose prompt is being read."""
    decoding: int
    """Sequences that generate."""
    remembered: int
    """Sequences kept for their prefix only."""
    read_tokens: int
    """Tokens read since the start."""
    generated_tokens: int
    steps: int


ToChild = Start | Cancel | Ask
FromChild = Accepted | Text | ChoiceEnded | Ended | Ready | State


class Said(msgspec.Struct, array_like=True, frozen=True):
    """One frame from the child."""

    messages: list[FromChild]


_encoder = msgspec.msgpack.Encoder()
_to_child = msgspec.msgpack.Decoder(ToChild)


class NotUnderstood(Exception):
    """A message that is none of ours, or is damaged."""

    def __init__(self, request_id: bytes) -> None:
        super().__init__()
        self.request_id = request_id
        """The request it is about: that one can be told."""


class TooLarge(Exception):
    """A message the other side would not read."""


def understood(body: bytes) -> ToChild:
    """Give the message for the child that a frame carries.

    Raises:
        NotUnderstood: it is none, but says which request it is about.
        msgspec.DecodeError: it does not even say that.
    """
    try:
        message: ToChild = _to_child.decode(body)
    except msgspec.MsgspecError as error:
        said = msgspec.msgpack.decode(body)
        if isinstance(said, dict) and isinstance(said.get("id"), bytes):
            raise NotUnderstood(said["id"]) from error
        raise
    return message


def frame(message: ToChild | Said) -> bytes:
    """Give a message as bytes for the socket.

    Raises:
        TooLarge: it is longer than FRAME_BYTES.
    """
    body = _encoder.encode(message)
    if len(body) > FRAME_BYTES:
        raise TooLarge
    return LENGTH.pack(len(body)) + body


class Frames:
    """Bytes as they arrive, to the bodies of whole frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take bytes; give every frame body they complete.

        Raises:
            ValueError: a frame is longer than FRAME_BYTES: the other side is not ours.
        """
        self._buffer += data
        while len(self._buffer) >= LENGTH.size:
            (length,) = LENGTH.unpack_from(self._buffer)
            if length > FRAME_BYTES:
                raise ValueError(f"a frame of {length} bytes")
            end = LENGTH.size + length
            if len(self._buffer) < end:
                return
            yield bytes(self._buffer[LENGTH.size : end])
            del self._buffer[:end]
