"""The socket for files that clients keep here."""

from dataclasses import dataclass
from typing import Protocol

from antiphon.domain.errors import FileQuotaExceeded
from antiphon.domain.files import File


@dataclass(frozen=True, slots=True)
class Quota:
    """How much one account may keep."""

    files: int
    size: int
    """In bytes, all together."""

    def check(self, files: int, size: int) -> None:
        """Refuse what would be too much.

        Raises:
            FileQuotaExceeded: an account may not keep so many files, or not so many bytes in all.
        """
        if files > self.files:
            raise FileQuotaExceeded(f"This account has {self.files} files, which is as many as it may.", param="file")
        if size > self.size:
            raise FileQuotaExceeded(f"This account may keep {self.size} bytes in all.", param="file")


class Files(Protocol):
    """Files, for those whose they are. Every method raises StorageUnavailable when the store cannot be asked."""

    async def add(self, file: File, content: bytes, quota: Quota) -> None:
        """Keep a file.

        Raises:
            FileQuotaExceeded: the account's quota is used up.
        """

    async def usage(self, account: str) -> tuple[int, int]:
        """Give how many files an account has, and their bytes."""

    async def get(self, account: str, file_id: str) -> File | None:
        """Find a file of this account."""

    async def content(self, account: str, file_id: str) -> tuple[str, bytes] | None:
        """Give the name and the content of a file of this account."""

    async def list(
        self, account: str, after: str | None, limit: int, *, is_descending: bool
    ) -> tuple[list[File], bool]:
        """Give an account's files by age, and whether there are more.

        Raises:
            UnknownFile: `after` is none of this account's.
        """

    async def remove(self, account: str, file_id: str) -> bool:
        """Remove a file; False when there is none of that id."""
