"""Speech to text, by Whisper in a process of its own."""
