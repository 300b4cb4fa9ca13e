"""What happens to a request, whoever asks and whatever runs it: no web, no SQL, no engine."""
