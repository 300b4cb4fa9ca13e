"""What a server tells of itself to whoever watches it."""
