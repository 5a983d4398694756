"""What weakens a sweep, found before anything starts: one module a rule."""
