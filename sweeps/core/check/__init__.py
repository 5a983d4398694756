"""What is wrong with a sweep, found before anything starts."""
