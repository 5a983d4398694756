"""What a sweep is asked for: arms, axes, stages, and the words of the command line."""
