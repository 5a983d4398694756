"""What a run is told to compute on, and what it is given."""

from __future__ import annotations

from collections.abc import Iterator

from flowpwm.precision import slow_bf16
from sweeps.core.check.checked import Checked
from sweeps.core.check.findings import Finding
from sweeps.core.definition.sweep import Sweep


def findings(sweep: Sweep, checked: Checked) -> Iterator[Finding]:
    """A GPU that no run uses, and products that this processor can only emulate."""
    configs = [plan.config for plan in (*checked.plans, *checked.demanding)]
    if sweep.gpus_per_trial and all(config.device == "cpu" for config in configs):
        yield Finding(
            "device",
            f"trial.gpus={sweep.gpus_per_trial:g} holds a GPU that no run uses: device is cpu; "
            "add device=cuda",
        )
    if any(config.precision == "bf16" and slow_bf16(config.device) for config in configs):
        yield Finding(
            "device",
            "precision=bf16 is several times slower than fp32 on this machine's processor, which "
            "has no instructions for it (AVX-512 BF16 or AMX)",
        )
