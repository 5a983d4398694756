"""The process that runs a sweep: from the command line, through Ray Tune, to the exit code."""
