"""A database that cannot be used at all."""


class StoreUnfit(Exception):
    """The database cannot be used; the message says why, in one line."""
