"""What outlives the process: keys and versions, in SQLite."""
