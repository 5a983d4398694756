"""The results of a sweep on disk: append-only events and series, and the tables made of them."""
