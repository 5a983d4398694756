"""`python -m sweeps.core.doctor`: is this machine, or this cluster file, fit for sweeps?"""
