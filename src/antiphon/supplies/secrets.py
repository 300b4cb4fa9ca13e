"""Keys to other servers, taken from where the configuration says they are; never from the configuration itself."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from antiphon.domain.errors import EngineFailed

HEADER_VALUE = re.compile(r"[\t\x20-\x7e]*")


def read_key(
    owner: str, variable: str | None, file: str | None, environment: Mapping[str, str] = os.environ
) -> str | None:
    """Give a key; from a file it is the file's text without blanks around it. None when neither place is named.

    Args:
        owner: whose key it is, for messages.
        variable: the environment variable that holds it.
        file: the file that does.
        environment: where variables are looked up.

    Raises:
        EngineFailed: it is not there, or cannot be sent.
    """
    if variable is not None:
        key, place = environment.get(variable, ""), f"the environment variable {variable}"
    elif file is not None:
        place = "the file of api_key_file"
        try:
            key = Path(file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError):
            raise EngineFailed(f"{owner}: {place} cannot be read") from None
    else:
        return None
    if not key or not HEADER_VALUE.fullmatch(key):
        raise EngineFailed(f"{owner}: {place} holds no key")
    return key
