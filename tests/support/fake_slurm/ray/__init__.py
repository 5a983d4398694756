"""Stand-in for Ray where only its command line is of interest."""
