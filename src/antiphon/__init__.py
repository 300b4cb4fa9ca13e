"""Antiphon: a self-hosted chat-completions service that keeps the whole contract."""

__version__ = "0.1.0"
