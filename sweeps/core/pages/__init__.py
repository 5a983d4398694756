"""What a sweep says on a terminal."""
