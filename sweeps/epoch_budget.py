"""How many epochs full flow needs, and whether its distance to the baseline shrinks with them.

    python sweeps/epoch_budget.py dataset=data/mt30 [epochs=[15000,50000]] [key=value ...]

Every value of `epochs` is a comparison of its own: the learning rate falls over a run's epochs.
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="epoch_budget",
    goal="How many epochs does full flow need, and does its distance to the baseline shrink?",
    tasks=("reacher-easy", "walker-stand", "cheetah-run"),
    presets="48M offline",
    arms={"mlp": "mlp", "full_flow": "flow flow_policy"},
    baseline="mlp",
    space={"epochs": (15_000, 50_000, 100_000, 150_000)},
    fixed={"mode": "joint"},
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
