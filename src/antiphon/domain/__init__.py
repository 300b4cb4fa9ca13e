"""Plain frozen values: what a chat, an event, a prediction, a model and an error are. Standard library only."""
