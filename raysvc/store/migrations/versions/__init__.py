"""The steps, in order. One that is released never changes."""
