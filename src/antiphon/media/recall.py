"""The words of earlier spoken answers: a later turn names one by its id until it expires."""

import re
import time
from uuid import UUID

from antiphon.core.ports import Archive
from antiphon.domain.media import SPEECH_KEPT_S, MediaUnfit
from antiphon.wire.stored import is_spoken, read_kept

_ID = re.compile(r"audio_([0-9a-f]{32})_([0-9]{1,3})")


async def recall(archive: Archive | None, account: str, speech_id: str) -> str:
    """Give the words of a spoken answer: it is in the record of its prediction.

    Args:
        archive: of predictions; None where they are not written down.
        account: whose it is.
        speech_id: as `wire.openai.ReplyHead.speech_id` makes them.

    Raises:
        MediaUnfit: there is none of that id, it is somebody else's, or it has expired: one answer for all.
        StorageUnavailable: the archive cannot be asked.
    """
    match = _ID.fullmatch(speech_id)
    record = await archive.get(account, UUID(match[1])) if archive and match else None
    if match and record and record.output and time.time() < record.created_us / 1e6 + SPEECH_KEPT_S:
        choices = read_kept(record.output).completion.choices
        index = int(match[2])
        if index < len(choices) and is_spoken(record):
            return choices[index].text
    raise MediaUnfit("There is no such audio, or it has expired.")
