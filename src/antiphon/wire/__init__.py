"""Formats on the wire, both ways: bytes to values, values to bytes."""
