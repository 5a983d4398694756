"""Which flow: the default flow world model against its variants and the MLP, one change an arm.

    python sweeps/flow_variants.py [arms=[flow,simplex]] [task=NAME] [key=value ...] [--dry-run]

`no_decoder` leaves the encoder without the reconstruction that anchors it; `inverse_anchor` and
`average_anchor` put another anchor in its place: actions told from latents, and targets from a
running average of the encoder. `matching_only` and `rollout_only` leave one of the two dynamics
losses out, `matched_alike` weighs both alike.
"""

import sys

from sweeps.core.definition.compare import Compare, Confirm

NO_DECODER = "flow world_model.reconstruction_weight=0"

SWEEP = Compare(
    name="flow_variants",
    goal="Which flow world model is the best, one change an arm?",
    tasks=("cartpole-swingup", "walker-stand", "cheetah-run"),
    presets="laptop",
    arms={
        "flow": "flow",
        "mlp": "mlp",
        "simplex": "flow world_model.chart=simplex",
        "heun_2": "flow world_model.integrator=heun world_model.substeps=2",
        "mean_flow": "flow world_model.objective=mean_flow",
        "matched_alike": "flow world_model.flow_matching_weight=1",
        "matching_only": "flow world_model.wm_rollout_weight=0 world_model.flow_matching_weight=1",
        "rollout_only": "flow world_model.flow_matching_weight=0",
        "no_decoder": NO_DECODER,
        "inverse_anchor": f"{NO_DECODER} world_model.inverse_dynamics_weight=10",
        "average_anchor": f"{NO_DECODER} world_model.target_momentum=0.99",
        "matched_in_rollout": "flow world_model.consistency=rollout",
    },
    baseline="flow",
    confirm=Confirm(seeds=(42, 123, 456)),
)

if __name__ == "__main__":
    from sweeps.core.driver.main import main

    sys.exit(main(SWEEP, sys.argv[1:]))
