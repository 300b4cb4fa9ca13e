"""What the endpoints need, handed to them once."""

from dataclasses import dataclass

from antiphon.core.ports import Keys
from antiphon.core.predict import Predictor
from antiphon.core.registry import Registry
from antiphon.wire.json_in import Limits


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the door."""

    registry: Registry
    predictor: Predictor
    keys: Keys
    limits: Limits
    deadline_s: float
    """The longest any prediction may take; models and clients may ask for less."""
