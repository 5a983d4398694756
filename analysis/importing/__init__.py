"""Logs and hand-kept tables from before there were sweeps, as the results folder of a sweep."""
