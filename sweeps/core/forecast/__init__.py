"""What a sweep takes: time, memory, disk. Foreseen, corrected while it runs, and capped."""
