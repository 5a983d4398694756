"""Stand-in for Ray's scripts."""
