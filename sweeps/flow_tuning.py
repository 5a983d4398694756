"""Does a tuned flow-matching world model beat the MLP baseline? One command, three stages.

    python sweeps/flow_tuning.py [preset='NAME ...'] [task=NAME] [key=value ...] [--dry-run]

Screen: flow configurations on one tuning seed, early stopping. Select: the best of them on fresh
seeds. Confirm: the winner against the baseline on test seeds that nothing was chosen on.
"""

import sys

from sweeps.core.definition.tune import Confirm, Screen, Select, Tune

SWEEP = Tune(
    name="flow_tuning",
    goal="Does a tuned flow-matching world model beat the MLP baseline?",
    tasks=("cartpole-swingup",),
    presets="laptop",
    arms={"mlp": "mlp", "flow": "flow"},
    baseline="mlp",
    space={
        "world_model.integrator": ("euler", "midpoint", "heun", "rk4"),
        "world_model.substeps": (1, 2, 4, 8),
        "wm_batch_size": (128, 256),
        "epochs": (400,),
    },
    max_nfe=4,
    screen=Screen(trials=5, seed=0, rungs=(0.25, 0.5), reduction=2.0),
    select=Select(top=2, seeds=(100,)),
    confirm=Confirm(seeds=(1000, 1001, 1002), episodes=20),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
