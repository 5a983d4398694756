"""Many MuJoCo simulations of one model: the only module that touches `mujoco.batch`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from jaxtyping import Bool, Float64
from mujoco.batch import Batch, SimulationError

from flowpwm.envs.base import Ids, SimulationFailed

# the bindings are compiled and come without type stubs
mj: Any = mujoco

# The stage that leaves position and velocity dependent fields current after a step, as
# dm_control's own step does.
_STAGE = mj.mjtStage.mjSTAGE_VEL.value


def suite_model(domain: str) -> Any:
    """The `MjModel` of a DeepMind Control Suite domain, from the installed dm_control package.

    The file is found without importing dm_control, whose import costs more than the model. The
    textures are left out: nothing here draws, and they are most of the memory and compile time.
    """
    found = importlib.util.find_spec("dm_control")
    if found is None or not found.submodule_search_locations:
        raise ModuleNotFoundError("dm_control is not installed: it holds the models of the tasks")
    path = Path(found.submodule_search_locations[0]) / "suite" / f"{domain}.xml"
    description = mj.MjSpec.from_file(str(path))
    for material in description.materials:
        material.textures = [""] * len(material.textures)
    for texture in list(description.textures):
        description.delete(texture)
    # the compiler's own scaling gives the same bits, but warns and writes a log file where it runs
    total_mass = description.compiler.settotalmass
    description.compiler.settotalmass = -1.0
    model = description.compile()
    if total_mass > 0.0:
        mj.mj_setTotalmass(model, total_mass)
        mj.mj_setConst(model, mj.MjData(model))
    return model


class Physics:
    """`num_envs` simulations of the `MjModel` `model`, stepped on `num_threads` threads.

    State arrays (`qpos`, `qvel`, `ctrl`) are live and writable; fields read with `field` are live
    and computed. After writing state or a per-simulation model field, `forward` makes the
    computed fields current. Axis 0 is the simulation everywhere.
    """

    def __init__(self, model: Any, name: str, num_envs: int, num_threads: int) -> None:
        if num_threads < 1:  # the batch would read 0 as "all CPUs"
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        self.model = model
        self.name = name
        # A persistent batch keeps the position and velocity stages of the last step, which the
        # next one then goes on from; Runge-Kutta computes them again and is slower for it.
        persistent = model.opt.integrator != mj.mjtIntegrator.mjINT_RK4
        self._batch = Batch(model, num_envs, num_threads, persistent=persistent)
        # touch sensors and the like need the whole forward pass to be current
        acceleration = mj.mjtStage.mjSTAGE_ACC.value
        self._forward_stage = acceleration if acceleration in model.sensor_needstage else _STAGE
        self._per_simulation: dict[str, np.ndarray] = {}
        self._warnings = self._batch.warning[:, :, 1]
        self.qpos: Float64[np.ndarray, "B nq"] = self._batch.bind("qpos")
        self.qvel: Float64[np.ndarray, "B nv"] = self._batch.bind("qvel")
        self.ctrl: Float64[np.ndarray, "B nu"] = self._batch.bind("ctrl")
        self.time: Float64[np.ndarray, " B"] = self._batch.bind("time")

    def field(self, name: str) -> np.ndarray:
        """A computed `MjData` field of all simulations, live and read-only."""
        return self._batch.bind(name)

    def sensor(self, name: str) -> Float64[np.ndarray, "B n"]:
        """The readings of one sensor, live and read-only."""
        sensor = self.model.sensor(name)
        first, size = int(sensor.adr[0]), int(sensor.dim[0])
        return self._batch.bind("sensordata")[:, first : first + size]

    def body(self, name: str) -> int:
        """The index of a body."""
        return int(self.model.body(name).id)

    def geom(self, name: str) -> int:
        """The index of a geom."""
        return int(self.model.geom(name).id)

    def site(self, name: str) -> int:
        """The index of a site."""
        return int(self.model.site(name).id)

    def limited(self) -> Bool[np.ndarray, " joints"]:
        """Which joints have a range."""
        return self.model.jnt_limited.astype(bool)

    def hinges(self) -> Bool[np.ndarray, " joints"]:
        """Which joints are hinges."""
        return self.model.jnt_type == mj.mjtJoint.mjJNT_HINGE

    def per_simulation(self, name: str) -> np.ndarray:
        """An `MjModel` field with a value for each simulation, live and writable."""
        values = self._batch.expand(name)
        self._per_simulation[name] = values
        return values

    def step(self, substeps: int, ids: Ids | None = None) -> None:
        """Advance by `substeps` time steps of the model.

        Raises:
          SimulationFailed: MuJoCo raised, or warned that a state went bad or a buffer overflowed.
        """
        try:
            self._batch.step(ids, substeps, _STAGE)
        except SimulationError as error:
            raise self._failure(error.ids, str(error)) from error
        # MuJoCo resets a simulation whose state went bad and only counts a warning
        if self._warnings.any():
            failed = np.flatnonzero(self._warnings.any(axis=1))
            kind = int(self._warnings[failed[0]].argmax())
            self._warnings[:] = 0
            raise self._failure(failed, f"MuJoCo warned {mj.mjtWarning(kind).name}")

    def reset(self, ids: Ids) -> None:
        """The model's default state in `ids`; computed fields wait for `forward`."""
        self._batch.reset(ids, stage=mj.mjtStage.mjSTAGE_NONE.value)

    def forward(self, ids: Ids | None = None) -> None:
        """Make position and velocity dependent fields, and every sensor, current."""
        try:
            self._batch.forward(ids, stage=self._forward_stage)
        except SimulationError as error:
            raise self._failure(error.ids, str(error)) from error

    def state_dict(self) -> dict[str, Any]:
        """Copies of the whole integration state (time and warm start too) and model fields."""
        fields = {name: values.copy() for name, values in self._per_simulation.items()}
        return {"rows": self._batch.state.copy(), "model": fields}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict` of the same model and number of simulations.

        Touch readings become those of the restored state; until then they were, as after any
        step, those of the last substep. The next step overwrites either.
        """
        for name, values in self._per_simulation.items():
            values[:] = state["model"][name]
        self._batch.state[:] = state["rows"]
        self.forward()

    def _failure(self, ids: Sequence[int] | np.ndarray, reason: str) -> SimulationFailed:
        return SimulationFailed(f"{self.name}: simulations {np.asarray(ids).tolist()}: {reason}")
