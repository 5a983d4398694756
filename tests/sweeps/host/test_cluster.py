"""The end of a connection to Ray."""

import subprocess
import sys

from tests.sweeps.tiny import ROOT, environment

#: Another thread frees references of Ray's all the while, as collections of garbage do.
FREES_REFERENCES = """
import gc, logging, threading, time
from sweeps.core.host import cluster

cluster.prepare(None)
import ray

ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
references = [ray.put(1) for _ in range(5000)]

def collect():
    while references:
        cycle = [references.pop()]
        cycle.append(cycle)
        del cycle
        if gc.isenabled():
            gc.collect(0)
        time.sleep(0.0005)

threading.Thread(target=collect, daemon=True).start()
cluster.shut_down()
assert references and gc.isenabled()
gc.collect()
print("alive")
"""


def test_garbage_of_rays_does_not_end_the_process_that_leaves_ray() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FREES_REFERENCES],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert (done.returncode, done.stdout) == (0, "alive\n"), done.stderr
