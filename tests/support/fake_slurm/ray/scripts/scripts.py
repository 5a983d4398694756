"""Stand-in for `ray start --block`: takes its ports, and leaves a child behind when it is ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    state = Path(os.environ["FAKE_SLURM"])
    options = dict(word[2:].partition("=")[::2] for word in sys.argv[2:])
    line = {
        "node": os.environ["SLURMD_NODENAME"],
        "options": options,
        "environment": {k: v for k, v in os.environ.items() if k.startswith(("RAY_", "TUNE_"))},
        "temp_mode": Path(options["temp-dir"]).stat().st_mode & 0o777,
    }
    with (state / "ray.jsonl").open("a") as file:
        print(json.dumps(line), file=file)
    subprocess.Popen(["sleep", "600"])
    if (state / "ray-fails").exists():
        print("there is no room")
        sys.exit(3)
    while (state / "ray-waits").exists():
        time.sleep(0.1)
    ip = options["node-ip-address"]
    names = [name for name in ("port", "node-manager-port") if name in options]
    servers = [socket.create_server((ip, int(options[name]))) for name in names]
    signal.pause()
