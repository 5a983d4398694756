"""No test here draws anything: keep dm_control from looking for a display when it is imported."""

import os

os.environ.setdefault("MUJOCO_GL", "disabled")
