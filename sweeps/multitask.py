"""Flow world models against the MLP baseline with one agent for thirty tasks, from a dataset.

python sweeps/multitask.py dataset=data/mt30 [wm_batch_size=256] [key=value ...] [--dry-run]
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

SWEEP = Compare(
    name="multitask",
    goal="Do flow world models beat the MLP baseline with one agent for thirty tasks?",
    tasks=("mt30",),
    presets="48M multitask",
    arms={
        "mlp": "mlp",
        "flow_v1": "flow_v1 wm_batch_size=512",
        "flow_v2": "flow_v2 wm_batch_size=512",
        "flow_v3": "flow_v3 wm_batch_size=512",
    },
    baseline="mlp",
    fixed={"mode": "joint"},
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
