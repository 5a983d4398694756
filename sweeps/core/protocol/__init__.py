"""From a sweep to its trials: which run, which stop, which are picked. Knows nothing of Ray."""
