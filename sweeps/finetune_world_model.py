"""Policies inside a pretrained world model that learns along: does that help the flow policy?

    python sweeps/finetune_world_model.py dataset=data/mt30 init_world_model=checkpoints/mt30_48M \\
        [task=[NAME,...]] [seeds=N] [key=value ...] [--dry-run]
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="finetune_world_model",
    goal="Does a world model that learns along help the flow policy?",
    tasks=("reacher-easy", "walker-stand", "cheetah-run"),
    presets="48M offline mt30_weights",
    arms={
        "mlp_policy": "",
        "flow_policy_2": "flow_policy policy.substeps=2",
        "flow_policy_4": "flow_policy policy.substeps=4",
    },
    baseline="mlp_policy",
    fixed={"mode": "policy_finetune"},
    shared_state="all arms start from the same pretrained world model",
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
