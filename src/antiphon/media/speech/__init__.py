"""Text to speech, by Kokoro in a process of its own."""
