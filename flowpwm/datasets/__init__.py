"""Offline datasets: TD-MPC2's chunk files, converted once, then mapped and sampled from.

`convert` makes a dataset from chunk files, `record` chunk files from policies of our own,
`open_dataset` something to train on.
"""

from flowpwm.datasets.convert import convert
from flowpwm.datasets.errors import DatasetError
from flowpwm.datasets.manifest import Manifest, TaskSummary, read_manifest
from flowpwm.datasets.offline import OfflineDataset, described, open_dataset

__all__ = [
    "DatasetError",
    "Manifest",
    "OfflineDataset",
    "TaskSummary",
    "convert",
    "described",
    "open_dataset",
    "read_manifest",
]
