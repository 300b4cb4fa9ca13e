"""What the server sends to others: webhooks."""
