"""One attempt at a trial, in its own process."""
