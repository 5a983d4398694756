"""A flow policy against an MLP policy inside the same pretrained world model, which stays frozen.

    python sweeps/frozen_world_model.py dataset=data/mt30 init_world_model=checkpoints/mt30_48M \\
        [task=[NAME,...]] [seeds=N] [key=value ...] [--dry-run]
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="frozen_world_model",
    goal="Does a flow policy beat an MLP policy inside the same frozen world model?",
    tasks=("reacher-easy", "walker-stand", "cheetah-run"),
    presets="48M offline mt30_weights",
    arms={"mlp_policy": "", "flow_policy": "flow_policy"},
    baseline="mlp_policy",
    fixed={"mode": "policy_frozen"},
    shared_state="both arms learn in the same frozen world model",
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
