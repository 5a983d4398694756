"""The machine, and Ray on it."""
