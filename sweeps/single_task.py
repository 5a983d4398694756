"""Flow world models against the MLP baseline on one task, learning from the environment.

python sweeps/single_task.py [preset='48M ant_runs'] [epochs=15000] [key=value ...] [--dry-run]
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="single_task",
    goal="Do flow world models beat the MLP baseline on one task, learning from the environment?",
    tasks=("ant",),
    presets="5M ant_runs",
    arms={"mlp": "mlp", "flow_v1": "flow_v1", "flow_v2": "flow_v2", "flow_v3": "flow_v3"},
    baseline="mlp",
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
