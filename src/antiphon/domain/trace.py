"""Whose trace a prediction is part of: W3C Trace Context, https://www.w3.org/TR/trace-context-1/."""

import re
import secrets
from dataclasses import dataclass

_PARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_STATE = re.compile(rb"[ -~]{1,512}")
"""What of a `tracestate` is passed on: as much as everybody must take, and what a header may hold."""
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace, and this server's place in it. Ids are lower-case hex."""

    id: str
    span: str
    """Of the prediction here."""
    parent: str
    """The span of whoever asked; empty where the trace begins here."""
    is_sampled: bool
    state: str = ""
    """What other systems have put into it, to be handed on as it came."""

    @property
    def headers(self) -> dict[str, str]:
        """What whoever is asked next is told."""
        told = {"traceparent": f"00-{self.id}-{self.span}-{int(self.is_sampled):02x}"}
        return told | {"tracestate": self.state} if self.state else told


def trace_of(parent: bytes | None, state: bytes | None, sample_ratio: float) -> Trace:
    """Go on with a client's trace, or begin one where it sends none that can be read.

    Args:
        parent: the header `traceparent`.
        state: the header `tracestate`.
        sample_ratio: which share of the traces that begin here is sampled. Others are sampled as their beginning was.
    """
    span = secrets.token_hex(8)
    match = _PARENT.fullmatch((parent or b"").strip())
    if match is None or (match[1] == b"00" and match[5]):
        trace_id = secrets.token_hex(16)
        # By its last 56 bits, which is where others that sample by a ratio look.
        return Trace(trace_id, span, "", is_sampled=int(trace_id[18:], 16) < sample_ratio * 2**56)
    kept = state.decode() if state and _STATE.fullmatch(state) else ""
    return Trace(match[2].decode(), span, match[3].decode(), bool(int(match[4], 16) & _SAMPLED), kept)
