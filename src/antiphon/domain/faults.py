"""What is wrong with one field of a request."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FieldFault:
    """One finding about one field of a request: where, what, and the two names of the kind of fault."""

    loc: tuple[str | int, ...]
    """The path from the request's root, starting with "body": ("body", "messages", 0, "role")."""
    msg: str
    type: str
    """The validator's name for the fault ("missing", "greater_than_equal", …): the seed's `type`."""
    code: str
    """OpenAI's name for it ("missing_required_parameter", …)."""

    @property
    def param(self) -> str | None:
        """The field as OpenAI writes it, `messages[0].role`; None when the fault is not about one field."""
        written = ""
        for step in self.loc[1:]:
            written += f"[{step}]" if isinstance(step, int) else f".{step}" if written else step
        return written or None
