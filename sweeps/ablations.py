"""What single choices are worth: the flow world model against itself with one thing changed.

    python sweeps/ablations.py [arms=[flow,mse_broadcast]] [task=NAME] [key=value ...] [--dry-run]

`as_before` is what earlier runs had, all of it together. `early_reward` needs a task that offers
it, such as ant.
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="ablations",
    goal="What are single choices of the flow world model worth?",
    tasks=("ant",),
    presets="5M ant_runs",
    arms={
        "flow": "flow",
        "mse_broadcast": "flow world_model.reward_loss=mse_broadcast",
        "simnorm_velocity": (
            "flow world_model.chart=simplex world_model.velocity_head=simnorm"
            " world_model.project_velocity=false world_model.retraction=none"
        ),
        "as_before": (
            "flow world_model.reward_loss=mse_broadcast"
            " world_model.chart=simplex world_model.velocity_head=simnorm"
            " world_model.project_velocity=false world_model.retraction=none"
            " world_model.reconstruction_weight=0 world_model.observation_transform=none"
        ),
        "symlog_reward": "flow actor_reward_space=symlog",
        "early_reward": "flow reward_timing=pre_step",
    },
    baseline="flow",
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
