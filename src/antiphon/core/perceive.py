"""What messages carry beside text, taken in before the engine is asked: seen, heard, read, or put into words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from antiphon.core.senses import Senses
from antiphon.domain.chat import ChatRequest, Message
from antiphon.domain.errors import InvalidRequest
from antiphon.domain.faults import FieldFault
from antiphon.domain.media import AS_FILE, HEARD_TOKEN_S, Hearing, Image, ImageFile, MediaUnfit, Medium, Sight


@dataclass(frozen=True, slots=True)
class Perceived:
    """A request an engine can be asked."""

    request: ChatRequest
    audio_tokens: int = 0
    """How much sound was put into words for it; an engine that hears by itself counts for itself."""


def has_media(request: ChatRequest) -> bool:
    """Whether there is anything to take in."""
    return any(message.media or message.speech_id is not None for message in request.messages)


async def perceive(request: ChatRequest, account: str, features: Mapping[str, str], senses: Senses) -> Perceived:
    """Take in all that a request's messages carry.

    Args:
        request: what the client asks.
        account: whose request it is: files and spoken answers are an account's own.
        features: the engine's table: what it sees and hears by itself is given to it, the rest in words.
        senses: who does it.

    Raises:
        InvalidRequest: with every part that cannot be taken in.
    """
    if not has_media(request):
        return Perceived(request)
    perceiver = _Perceiver(account, features, senses)
    messages = [await perceiver.message(index, message) for index, message in enumerate(request.messages)]
    if perceiver.faults:
        raise InvalidRequest(tuple(perceiver.faults))
    audio_tokens = math.ceil(round(perceiver.heard_s / HEARD_TOKEN_S, 6))
    return Perceived(replace(request, messages=tuple(messages)), audio_tokens)


class _Perceiver:
    """One request's."""

    def __init__(self, account: str, features: Mapping[str, str], senses: Senses) -> None:
        self._account, self._features, self._senses = account, features, senses
        self.faults: list[FieldFault] = []
        self.heard_s = 0.0

    async def message(self, index: int, message: Message) -> Message:
        if message.speech_id is not None:
            message = await self._recalled(index, message, message.speech_id)
        if not message.media:
            return message
        woven = _Weaver(message.text)
        for medium in message.media:
            try:
                await self._take(medium, woven)
            except MediaUnfit as unfit:
                self._refuse(unfit, index, "content", medium.part)
        return replace(message, text=woven.finish(), media=(), sensed=tuple(woven.sensed))

    async def _recalled(self, index: int, message: Message, speech_id: str) -> Message:
        try:
            words = await self._senses.recall(self._account, speech_id)
        except MediaUnfit as unfit:
            self._refuse(unfit, index, "audio", "id")
            return message
        return replace(message, text="\n".join(filter(None, (message.text, words))), speech_id=None)

    async def _take(self, medium: Medium, woven: "_Weaver") -> None:
        senses = self._senses
        if medium.kind == "image_url":
            woven.sense(medium.at, partial(_sight, await self._image(medium)))
        elif medium.kind == "file":
            document = await senses.read(medium, self._account, has_sight="image_url" in self._features)
            if not document.text.strip() and not document.pages:
                raise MediaUnfit("The file has no text, and this model sees no pictures.")
            title = f"{document.name}:\n" if document.name else ""
            woven.say(medium.at, f"{title}{document.text}")
            for page in document.pages:
                woven.sense(medium.at, partial(_sight, await senses.as_file(page) if self._takes_files else page))
        else:
            sound = await senses.listen(medium, self._account)
            if "input_audio" in self._features:
                woven.sense(medium.at, lambda at: Hearing(at, sound))
            else:
                self.heard_s += sound.seconds
                woven.say(medium.at, await senses.transcribe(sound))

    async def _image(self, medium: Medium) -> Image | ImageFile:
        look = self._senses.show if self._takes_files else self._senses.see
        return await look(medium, self._account)

    @property
    def _takes_files(self) -> bool:
        return self._features.get("image_url") == AS_FILE

    def _refuse(self, unfit: MediaUnfit, index: int, *place: str | int) -> None:
        self.faults.append(FieldFault(("body", "messages", index, *place), unfit.message, "value_error", unfit.code))


def _sight(image: Image | ImageFile, at: int) -> Sight:
    return Sight(at, image)


class _Weaver:
    """A message's text while words and things to sense are put into their places in it."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._woven = ""
        self.sensed: list[Sight | Hearing] = []

    def say(self, at: int, words: str) -> None:
        """Put words where they were heard or read, on lines of their own, as text parts are."""
        self._go_to(at)
        if words:
            self._woven += "\n" * (self._woven != "" and not self._woven.endswith("\n")) + words

    def sense(self, at: int, made: Callable[[int], Sight | Hearing]) -> None:
        """Put something there that is no text."""
        self._go_to(at)
        self.sensed.append(made(len(self._woven)))

    def finish(self) -> str:
        """Give the text with all of it."""
        self._go_to(len(self._text))
        return self._woven

    def _go_to(self, at: int) -> None:
        more = self._text[self._at : at]
        if more and self._at == 0 and self._woven and not self._woven.endswith("\n"):
            self._woven += "\n"
        self._woven += more
        self._at = at
