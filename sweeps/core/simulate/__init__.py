"""`python -m sweeps.core.simulate`: what a protocol is worth, in simulated time."""
