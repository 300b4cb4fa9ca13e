"""What a request names by its URL, fetched: off unless configured, and then from public addresses only."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from antiphon.domain.media import MediaUnfit
from antiphon.outbound.addresses import UrlNotAllowed, read_url
from antiphon.outbound.session import Session, Unreachable, open_session

FETCHING = 16
"""How many URLs are fetched at once."""


class Fetcher:
    """Fetches what is small enough, as fast as a session allows."""

    def __init__(self, session: Session, most_bytes: int) -> None:
        self._session, self._most_bytes = session, most_bytes

    async def fetch(self, url: str) -> bytes:
        """Get what a URL names. Nothing of its answer but its bytes is believed, and no redirect followed.

        Raises:
            MediaUnfit: it cannot be had. One sentence for all reasons: which it was would tell what can be reached.
        """
        try:
            # Where it leads is judged when it is dialled: one place, for names and for addresses.
            return await self._session.get(read_url(url), self._most_bytes)
        except (UrlNotAllowed, Unreachable):
            raise MediaUnfit("This URL cannot be fetched.", "url_not_allowed") from None


@asynccontextmanager
async def open_fetcher(most_bytes: int, *, allow_private: bool) -> AsyncGenerator[Fetcher]:
    """Open a fetcher for the body; it dials public addresses only, unless `allow_private`."""
    async with open_session(allow_private=allow_private, at_once=FETCHING) as session:
        yield Fetcher(session, most_bytes)
