"""Names to models: what a client asked for, whether it may have it, and whether that can be done."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from antiphon.core.admission import Admission
from antiphon.core.contract import ADAPTED, Contract
from antiphon.core.ports import Engine
from antiphon.core.senses import NO_SENSES, Senses
from antiphon.domain.chat import ChatRequest
from antiphon.domain.errors import UnknownModel, Unsupported
from antiphon.domain.models import Model, ModelName, Version


@dataclass(frozen=True, slots=True)
class Offer:
    """A model with what runs it."""

    model: Model
    engines: Mapping[int, Engine]
    """Version number to engine."""
    admission: Admission


@dataclass(frozen=True, slots=True)
class Resolved:
    """One version of one model, ready to be asked."""

    model: Model
    version: Version
    engine: Engine
    admission: Admission

    @property
    def fingerprint(self) -> str:
        """`system_fingerprint`: the version really used and its weights' digest."""
        return f"fp_v{self.version.number}_{self.version.digest}"


class Registry:
    """Every model this server offers."""

    def __init__(self, offers: Iterable[Offer]) -> None:
        self._offers = {offer.model.id: offer for offer in offers}

    def offers(self) -> tuple[Offer, ...]:
        """Every offer, for start, stop and health."""
        return tuple(self._offers.values())

    def visible_to(self, account: str) -> list[Model]:
        """The models an account may know of, in the order they were configured."""
        return [offer.model for offer in self._offers.values() if offer.model.is_visible_to(account)]

    def hidden_from(self, account: str) -> frozenset[str]:
        """The ids of those that it may not know of."""
        models = (offer.model for offer in self._offers.values())
        return frozenset(model.id for model in models if not model.is_visible_to(account))

    def resolve(self, name: ModelName, account: str) -> Resolved:
        """Find what a name means to an account.

        Raises:
            UnknownModel: there is no such model or version, or it is somebody else's: one answer for all.
        """
        offer = self._offers.get(f"{name.owner}/{name.name}")
        version = offer.model.version(name.number) if offer and offer.model.is_visible_to(account) else None
        if offer is None or version is None:
            raise UnknownModel(f"The model '{name}' does not exist or you do not have access to it.", param="model")
        return Resolved(offer.model, version, offer.engines[version.number], offer.admission)


def fit(request: ChatRequest, resolved: Resolved, senses: Senses = NO_SENSES) -> Contract:
    """Settle how this version keeps what a request asks; refuse what it cannot do, by name. Nothing is ever ignored.

    Raises:
        Unsupported: naming the first field that cannot be honoured.
    """
    supplied = (resolved.engine.features, ADAPTED, senses.features)
    for asked in request.asked:
        if not any(asked.feature in table for table in supplied):
            hint = senses.hints.get(asked.feature)
            message = f"'{asked.feature}' is not supported by this model." + (f" {hint}" if hint else "")
            raise Unsupported(message, param=asked.param)
    if request.speech and request.speech.voice not in senses.voices:
        message = f"There is no such voice. The voices are: {', '.join(senses.voices)}."
        raise Unsupported(message, param="audio.voice", code="unsupported_value")
    if request.sampling.n > resolved.model.slots:
        raise Unsupported(f"'n' is at most {resolved.model.slots} for this model.", param="n", code="unsupported_value")
    return Contract(request, resolved.engine.features)
