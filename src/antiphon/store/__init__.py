"""What outlives the process: keys, versions and predictions, in SQLite or PostgreSQL."""
