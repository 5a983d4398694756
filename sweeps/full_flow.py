"""Flow dynamics with a flow policy against MLP with MLP, both from scratch, from a dataset.

python sweeps/full_flow.py dataset=data/mt30 [task=[NAME,...]] [key=value ...] [--dry-run]
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="full_flow",
    goal="Do flow dynamics with a flow policy beat MLP with MLP, both from scratch?",
    tasks=("reacher-easy", "walker-stand", "cheetah-run"),
    presets="48M offline",
    arms={"mlp": "mlp", "full_flow": "flow flow_policy"},
    baseline="mlp",
    fixed={"mode": "joint"},
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
