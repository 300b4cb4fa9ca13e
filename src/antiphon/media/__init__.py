"""What requests carry beside text, taken in; and speech, made."""
