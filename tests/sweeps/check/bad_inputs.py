"""The table of bad inputs: what a user might type or write, and what is said about it.

`test_bad_inputs.py` runs every row; `python -m tests.sweeps.check.bad_inputs` prints the page
`docs/bad-input.md`. In a message, … stands for what depends on the machine.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from flowpwm import checkpoint
from flowpwm.datasets import Manifest, TaskSummary
from flowpwm.datasets.manifest import write_manifest
from flowpwm.state import TrainState
from sweeps.flow_tuning import SWEEP
from tests.flowpwm.tiny import tiny

ROOT = Path(__file__).parents[3]
TUNE = "python sweeps/flow_tuning.py"
COMPARE = "python sweeps/single_task.py"
TRAIN = "python -m flowpwm train"
EVALUATE = "python -m flowpwm evaluate"
DOCTOR = "python -m sweeps.core.doctor --cluster"
ANALYSIS = "python -m analysis"
SECRET_VALUE = "hunter2"


@dataclass(frozen=True)
class Row:
    """`number` is that of the kind of input; `files` and `prepare` make what the command finds.

    `says` are the lines of the answer, without "error: "; none where the input is accepted.
    `warns` is a part of what is then printed.
    """

    number: int
    command: str
    says: tuple[str, ...] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    prepare: Callable[[Path], object] | None = None
    setting: str = ""  # of files and `prepare`, in words
    code: int = 2
    warns: str = ""

    @property
    def accepted(self) -> bool:
        return self.code == 0


def tune(number: int, words: str, *says: str, **more: Any) -> Row:
    return Row(number, f"{TUNE} {words}".strip(), says, **more)


def train(number: int, words: str, *says: str, **more: Any) -> Row:
    return Row(number, f"{TRAIN} {words}", says, **more)


def in_file(number: int, text: str | bytes, *says: str, code: int = 2, setting: str = "") -> Row:
    """A file of settings for the sweep; where it is accepted, a dry run shows it."""
    words = "--config sweep.yaml" + (" --dry-run" if code == 0 else "")
    return tune(number, words, *says, files={"sweep.yaml": text}, code=code, setting=setting)


def cluster(number: int, old: str, new: str, *says: str) -> Row:
    """The cluster file of the project, in which `old` became `new`."""
    text = (ROOT / "cluster.yaml").read_text()
    assert old in text, old
    setting = f"{new!r} in place of {old!r}"
    files = {"cluster.yaml": text.replace(old, new, 1)}
    return Row(number, f"{DOCTOR} cluster.yaml", says, files, setting=setting)


def a_run(folder: Path) -> None:
    """A run folder that a sweep left behind before it planned a trial."""
    (folder / "run" / "events").mkdir(parents=True)
    (folder / "run" / "sweep.yaml").write_text(yaml.safe_dump(SWEEP.to_dict(), sort_keys=False))


def a_dataset(folder: Path) -> None:
    """The description of a dataset whose pendulum was observed in another way."""
    task = TaskSummary(3, 500, 6, 2, 1.0, 0.0, 2.0, {})
    tasks = {"reacher-easy": task, "pendulum-swingup": dataclasses.replace(task, action_dim=1)}
    (folder / "data").mkdir()
    write_manifest(folder / "data", Manifest({}, tasks))


def a_world_model(folder: Path) -> None:
    """A data set, and the checkpoint of a run on it."""
    a_dataset(folder)
    checkpoint.save(TrainState.start(tiny("reacher-easy mlp")), folder / "model", resumable=False)


def a_broken_model(content: bytes) -> Callable[[Path], None]:
    def prepare(folder: Path) -> None:
        a_world_model(folder)
        (folder / "model" / "agent.pt").write_bytes(content)

    return prepare


def a_large_file(folder: Path) -> None:
    with (folder / "sweep.yaml").open("wb") as file:
        file.truncate(200_000_000)


def a_link_out(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "results").mkdir()
    (folder / "results" / "flow_tuning").symlink_to(folder / "elsewhere")


OFFLINE = "task=reacher-easy dataset=data init_world_model=model"
LEVELS = "\n".join(
    ["a0: &a0 lol", *(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10))]
)
GRID = " ".join(f"{key}=[1,2,3,4,5,6,7,8]" for key in ("wm_updates", "actor_updates"))
GRID += " critic_iterations=[1,2,3,4,5,6,7,8] microbatches=[1,2,3,4,5,6,7,8]"
TASKS = "'reacher-easy+walker-stand'"

ROWS: tuple[Row, ...] = (
    in_file(
        1,
        "preset: laptop\nscreen:\n  trials: 4\nhorzion: 4\n",
        "unknown key 'horzion'. Did you mean 'horizon'? (sweep.yaml:4)",
    ),
    in_file(
        1,
        "optim:\n  wm_lrr: 1e-4\n",
        "unknown key 'optim.wm_lrr'. Did you mean 'optim.wm_lr'? (sweep.yaml:2)",
    ),
    tune(
        1,
        "horzion=4 epoch=3",
        "unknown key 'horzion'. Did you mean 'horizon'?",
        "unknown key 'epoch'. Did you mean 'epochs'?",
    ),
    train(
        1,
        "cartpole-swingup laptop horzion=4",
        "unknown key horzion. Did you mean 'horizon'? Known here: task, mode, …",
    ),
    train(
        1,
        "cartpol-swingup laptop",
        "unknown preset 'cartpol-swingup'; known: …. Did you mean 'cartpole-swingup'?",
    ),
    Row(
        1,
        "python -m flowpwm trian cartpole-swingup",
        ("argument COMMAND: invalid choice: 'trian' (…",),
    ),
    tune(
        2,
        "task=reacher-easy action_dims=[2,1]",
        "unknown key 'action_dims'. Did you mean 'latent_dim'?",
    ),
    tune(3, "epochs='???'", "epochs must be set, got '???'"),
    in_file(3, "horizon: ???\n", "horizon must be set, got '???' (sweep.yaml:1)"),
    train(3, "laptop flow", "task must be set; known: …"),
    tune(4, "multitask=true task=ant", "unknown key 'multitask'. Did you mean 'task'?"),
    tune(
        5,
        "world_model.task_dim=96",
        "world_model.task_dim must be 0 for the one task 'cartpole-swingup', got 96",
    ),
    tune(
        6,
        f"task={TASKS}",
        "world_model.task_dim must be at least 1 for tasks 'reacher-easy+walker-stand', got 0",
    ),
    tune(7, "horizon=0", "horizon must be at least 1, got 0"),
    tune(7, "horizon=-1", "horizon must be at least 1, got -1"),
    tune(7, "horizon=1.5", "horizon must be a whole number, got 1.5"),
    in_file(7, 'horizon: "16"\n', "horizon must be a whole number, got '16' (sweep.yaml:1)"),
    tune(8, "horizon=4 --dry-run", code=0, warns="horizon 4; the published reference uses 16"),
    tune(9, "substeps=[0,2]", "flow: world_model.substeps must be at least 1, got 0"),
    tune(9, "substeps=1e9", "flow: world_model.substeps must be a whole number, got 1000000000.0"),
    tune(9, "substeps=1000000000", "max_nfe=4 leaves no cell: raise it or choose fewer substeps"),
    tune(
        9,
        "substeps=1000000000 max_nfe=0",
        "flow: no node can run a trial: it needs 1 CPUs, 0 GPUs and … GiB; the largest, …, has …",
    ),
    tune(9, "substeps=2.5", "flow: world_model.substeps must be a whole number, got 2.5"),
    tune(
        10,
        "integrator=[euler,huen]",
        (
            "flow: unknown world_model.integrator 'huen'; known: euler, midpoint, heun, rk4. Did "
            "you mean 'heun'?"
        ),
    ),
    in_file(
        10,
        "world_model:\n  integrator: huen\n",
        (
            "flow: unknown world_model.integrator 'huen'; known: euler, midpoint, heun, rk4. Did "
            "you mean 'heun'? (sweep.yaml:2)"
        ),
    ),
    in_file(11, 'optim.wm_lr: "1e-4"\n', "optim.wm_lr must be a number, got '1e-4' (sweep.yaml:1)"),
    in_file(11, "optim.wm_lr: 1e-4\n", code=0),
    tune(12, "optim.wm_lr=-1", "optim.wm_lr must be positive and finite, got -1.0"),
    tune(12, "optim.wm_lr=0", "optim.wm_lr must be positive and finite, got 0.0"),
    tune(12, "optim.wm_lr=nan", "optim.wm_lr must be positive and finite, got nan"),
    tune(12, "optim.wm_lr=inf", "optim.wm_lr must be positive and finite, got inf"),
    tune(12, "optim.wm_lr=1e9", "optim.wm_lr must be at most 1, got 1000000000.0"),
    tune(
        13,
        "'optim.wm_lr=loguniform(0, 1e-3)'",
        (
            "optim.wm_lr: 'loguniform(0, 1e-3)' needs bounds above 0, its values are spread "
            "geometrically"
        ),
    ),
    tune(
        14,
        "'optim.wm_lr=uniform(1e-3, 1e-4)'",
        "optim.wm_lr: 'uniform(1e-3, 1e-4)' needs its first bound below its second, both finite",
    ),
    in_file(
        14,
        "optim.wm_lr: uniform(1e-3, 1e-3)\n",
        (
            "optim.wm_lr: 'uniform(1e-3, 1e-3)' needs its first bound below its second, both "
            "finite (sweep.yaml:1)"
        ),
    ),
    tune(15, "integrator=[]", "axis world_model.integrator is empty: give at least one value"),
    tune(15, "integrator=[heun,heun]", "axis world_model.integrator has 'heun' twice"),
    Row(15, f"{COMPARE} task=[]", ("task must name at least one task, as in task=cheetah-run",)),
    Row(15, f"{COMPARE} arms=[]", ("arms must name at least one arm, as in arms=[mlp,flow]",)),
    Row(15, f"{COMPARE} arms=[mlp,mlp]", ("arms has 'mlp' twice",)),
    tune(16, "screen.trials=0", "screen.trials must be a whole number of at least 1, got 0"),
    tune(16, "screen.trials=-1", "screen.trials must be a whole number of at least 1, got -1"),
    tune(
        16,
        "screen.trials=1000000000 --dry-run",
        code=0,
        warns="screen.trials=1000000000, but the space has",
    ),
    tune(
        16,
        "screen.trials=1000000000 'optim.wm_lr=uniform(1e-4, 1e-3)' --yes",
        "1000000008 trials are planned; a sweep holds at most 1000000",
    ),
    tune(16, "confirm.seeds=1000000000", "confirm.seeds must be at most 100000, got 1000000000"),
    tune(
        17,
        f"screen.trials=20000 {GRID}",
        "20008 trials are planned; --yes if more than 10000 are meant",
    ),
    Row(
        17,
        f"{COMPARE} {GRID} seeds=10",
        ("… trials are planned; --yes if more than 10000 are meant",),
    ),
    Row(
        18,
        f"{ANALYSIS} summary run --score retrun_mean",
        ("unknown score 'retrun_mean'; did you mean 'return_mean'…",),
        prepare=a_run,
        setting="a run without results",
    ),
    tune(
        19,
        "mode=maximise",
        "unknown mode 'maximise'; known: online, pretrain, policy_frozen, policy_finetune, joint.",
    ),
    tune(
        20,
        "screen.rungs=[1.5]",
        "screen.rungs must be fractions in (0, 1), as in [0.25, 0.5], got [1.5]",
    ),
    tune(21, "scheduler=hyperband", "unknown key 'scheduler'. Did you mean 'schedule'?"),
    tune(21, "search.algorithm=bohb", "unknown key 'search.algorithm'."),
    Row(22, f"{COMPARE} seeds=two", ("seeds must be a count or a list of seeds, got 'two'",)),
    tune(22, "confirm.seeds=[]", "confirm.seeds must be a count or a list of seeds, got []"),
    tune(22, "confirm.seeds=[1000,1000]", "confirm.seeds has a seed twice: [1000, 1000]"),
    tune(22, "confirm.seeds=[-1]", "confirm.seeds must be a count or a list of seeds, got [-1]"),
    tune(
        22,
        "confirm.seeds=[4294967296]",
        (
            "confirm seed 4294967296 is outside 1000..4294967295: seed sets are disjoint, so "
            "that nothing is confirmed on what it was tuned on"
        ),
    ),
    Row(22, f"{COMPARE} seeds=[4294967296]", ("seed must lie in [0, 4294967295], got 4294967296",)),
    in_file(23, "horizon: 8\n\tepochs: 100\n", "sweep.yaml:2: is not YAML (…tab…"),
    in_file(
        23,
        "horizon: [8\nepochs: 100\n",
        "sweep.yaml:2: is not YAML (did not find expected ',' or ']')",
    ),
    in_file(
        24,
        "horizon: 8\nepochs: 100\nhorizon: 16\n",
        "sweep.yaml:3: 'horizon' is given twice, first in line 1",
    ),
    in_file(
        24,
        "optim: {wm_lr: 1e-3}\noptim.wm_lr: 1e-4\n",
        "sweep.yaml:2: optim.wm_lr is given twice, first at sweep.yaml:1",
    ),
    in_file(
        1,
        "preset: laptop\ntime-limit: 1h\n",
        "time-limit is a flag of the command line: --time-limit (sweep.yaml:2)",
    ),
    in_file(
        11,
        "arms:\n  flow: {world_model.substeps: 2}\n",
        "an arm is one text, as in arms: {flow: 'flow world_model.substeps=...'} (sweep.yaml:2)",
    ),
    tune(24, "horizon=8 horizon=16", "horizon is given twice: '8' and '16'"),
    in_file(
        25,
        "- horizon\n- 8\n",
        "sweep.yaml:1: holds a list; expected a mapping, lines such as 'key: value'",
    ),
    in_file(
        25,
        "horizon\n",
        "sweep.yaml:1: holds a single value; expected a mapping, lines such as 'key: value'",
    ),
    in_file(25, "", "sweep.yaml: is empty; expected lines such as 'key: value'"),
    in_file(25, "# nothing yet\n", "sweep.yaml: is empty; expected lines such as 'key: value'"),
    in_file(25, "horizon:\n", "sweep.yaml:1: horizon has no value; expected 'horizon: ...'"),
    tune(
        26,
        "--config sweep.yaml",
        "sweep.yaml: is a folder; expected a YAML file",
        prepare=lambda folder: (folder / "sweep.yaml").mkdir(),
        setting="a folder of this name",
    ),
    tune(
        26,
        "--config sweep.yml",
        "sweep.yml: no such file. Did you mean 'sweep.yaml'?",
        files={"sweep.yaml": "horizon: 8\n"},
    ),
    tune(26, "--config /dev/zero", "/dev/zero: is not a regular file; expected a YAML file"),
    tune(
        26,
        "--config sweep.yaml",
        "sweep.yaml: is larger than 1 MiB; expected a file of settings",
        prepare=a_large_file,
        setting="a file of 200 MB",
    ),
    in_file(27, b"horizon: 8\ngoal: \xff\xfe\n", "sweep.yaml:2: is not UTF-8 (byte 0xff)"),
    in_file(27, "horizon: 8\n".encode("utf-16"), "sweep.yaml:1: is UTF-16; save it as UTF-8"),
    in_file(27, "\ufeffhorizon: 8\r\nepochs: 100\r\n".encode(), code=0),
    in_file(27, "goal: a\x00b\n", "sweep.yaml:1: is not YAML (control characters are not allowed)"),
    in_file(
        28,
        "goal: !!python/object/apply:os.system [id]\n",
        "sweep.yaml:1: has the tag !!python/object/apply:os.system; only plain values are read",
    ),
    in_file(
        29,
        LEVELS,
        "sweep.yaml:1: is more than 10000 values, or 20 levels, with its aliases written out",
        setting="nine lists of nine aliases each, nested: billions of values",
    ),
    in_file(
        29,
        "goal: &a [*a]\n",
        "sweep.yaml:1: is more than 10000 values, or 20 levels, with its aliases written out",
    ),
    in_file(
        29,
        f"goal: {'[' * 5000}{']' * 5000}\n",
        "sweep.yaml:1: is more than 20 levels deep",
        setting="5,000 lists, one in the other",
    ),
    in_file(
        29,
        f"a: &a 1\ngoal: [{', '.join(['*a'] * 101)}]\n",
        "sweep.yaml:2: has more than 100 aliases",
        setting="a list of 101 aliases",
    ),
    in_file(
        30,
        "goal: ${oc.env:WANDB_API_KEY}\n",
        "sweep.yaml:1: goal must be a plain value, got the interpolation '${oc.env:WANDB_API_KEY}'",
    ),
    train(
        30,
        "cartpole-swingup 'dataset=${oc.env:WANDB_API_KEY}'",
        "dataset must be a plain value, got the interpolation '${oc.env:WANDB_API_KEY}'",
    ),
    in_file(
        31,
        "horizon: ${epochs}\nepochs: ${horizon}\n",
        "sweep.yaml:1: horizon must be a plain value, got the interpolation '${epochs}'",
    ),
    tune(
        31,
        "'horizon=${nowhere}'",
        "horizon must be a plain value, got the interpolation '${nowhere}'",
    ),
    in_file(
        32,
        f"horizon: 8\nwandb_api_key: {SECRET_VALUE}\n",
        "sweep.yaml:2: wandb_api_key looks like a secret: secrets come from the environment only",
    ),
    tune(
        32,
        f"wandb_api_key={SECRET_VALUE}",
        "wandb_api_key looks like a secret: secrets come from the environment only",
    ),
    tune(
        32,
        f"--api-key {SECRET_VALUE}",
        "--api-key looks like a secret: secrets come from the environment only",
    ),
    tune(
        32,
        f"arms.flow='flow wandb.token={SECRET_VALUE}'",
        "wandb.token looks like a secret: secrets come from the environment only",
    ),
    train(
        32,
        f"cartpole-swingup wandb_api_key={SECRET_VALUE}",
        "wandb_api_key looks like a secret: secrets come from the environment only",
    ),
    train(
        32,
        f"cartpole-swingup --password={SECRET_VALUE}",
        "unrecognized arguments: --password=***",
    ),
    cluster(
        33,
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=0.0.0.0",
        (
            "cluster.yaml:…: head_start_ray_commands: --dashboard-host=0.0.0.0 opens job "
            "submission to the network; use 127.0.0.1 and `ray dashboard`"
        ),
    ),
    cluster(
        34,
        "    min_workers: 0\n    max_workers: 8",
        "    min_workers: 9\n    max_workers: 8",
        "cluster.yaml: top level: Ray refuses it: The specified global `max_workers` is smaller …",
        "cluster.yaml:53: available_node_types.gpu_spot: min_workers 9 is more than max_workers 8",
    ),
    cluster(
        35,
        "head_node_type: head",
        "head_node_type: boss",
        "cluster.yaml:…: …`head_node_type` must be one of…",
    ),
    cluster(
        36,
        "  ~/flowpwm: .",
        "  ~/flowpwm: nowhere",
        "cluster.yaml:…: file_mounts.~/flowpwm: no local file or folder nowhere",
    ),
    cluster(
        37,
        "InstanceType: m7i.xlarge",
        "InstanceTyp: m7i.xlarge",
        *(
            f"cluster.yaml:{line}: available_node_types.{node}.node_config.InstanceTyp: "
            "unknown key 'InstanceTyp'; did you mean 'InstanceType'?"
            for node, line in (("head", 45), ("gpu_spot", "…"), ("gpu_on_demand", "…"))
        ),
    ),
    cluster(
        38,
        "sudo mount -t nfs4",
        "true",
        (
            "cluster.yaml:…: setup_commands: mount no storage that all nodes share: a trial that "
            "moves to another node would not find its checkpoint; mount one (NFS, EFS, Lustre) "
            "and put results there"
        ),
    ),
    tune(40, "results=relative/folder --dry-run", code=0),
    tune(
        40,
        "results=/proc/nowhere",
        "cannot write results to /proc/nowhere: /proc is not writable (…)",
        code=6,
    ),
    tune(
        40,
        "results=file/results",
        "cannot write results to file/results: …/file is not writable (Not a directory)",
        code=6,
        files={"file": "no folder"},
    ),
    tune(
        40,
        "results=s3://bucket/runs",
        "results must be a folder of this machine, got 's3://bucket/runs'",
    ),
    tune(
        40,
        "",
        (
            "cannot write results to results: sweep 'flow_tuning' leads out of results: "
            "…/results/flow_tuning is a link"
        ),
        prepare=a_link_out,
        setting="a link in results/ that leads out of it",
    ),
    in_file(
        40,
        "results: elsewhere\n",
        "results is for the command line: a file says what to run (sweep.yaml:1)",
    ),
    tune(
        41,
        "wm_batch_size=4096 buffer_capacity=2048",
        "wm_batch_size must be at most buffer_capacity (2048), got 4096",
    ),
    tune(41, "buffer_capacity=64", "buffer_capacity must be at least 256, got 64"),
    tune(
        41,
        "trial.together=2 recompute=true",
        (
            "trial.together=2 trains seeds as one program, which cannot recompute rollouts (flow, "
            "mlp); leave out one of both"
        ),
    ),
    tune(
        42,
        "preset=317M buffer_capacity=100_000_000_000 epochs=100_000_000",
        "no node can run a trial: it needs 1 CPUs, 0 GPUs and … GiB; the largest, …, has …",
    ),
    train(
        42,
        "cartpole-swingup 317M buffer_capacity=100_000_000_000 epochs=100_000_000",
        (
            "the run needs about … GiB of memory, … GiB are free here; choose a smaller preset "
            "or buffer_capacity"
        ),
    ),
    tune(
        42,
        "world_model.units=[99999999999,99999999999]",
        (
            "networks of these sizes cannot be built: Storage size calculation overflowed with "
            "sizes=[99999999999, 99999999999]"
        ),
    ),
    tune(
        42,
        "trial.together=1000 trial.memory=4 confirm.seeds=1000",
        (
            "no node can run 1000 seeds as one program (trial.together): it needs 1 CPUs, 0 GPUs "
            "and … GiB; the largest, …, has …"
        ),
    ),
    tune(
        43,
        "trial.gpus=64",
        "no node can run a trial: it needs 1 CPUs, 64 GPUs and … GiB; the largest, …, has …",
    ),
    tune(
        44,
        "trial.cpus=4096",
        "no node can run a trial: it needs 4096 CPUs, 0 GPUs and … GiB; the largest, …, has …",
    ),
    train(
        45,
        f"mode=policy_frozen {OFFLINE}",
        "init_world_model: model is not a folder; expected the folder of a world model",
        prepare=a_dataset,
        setting="a dataset, no model",
    ),
    Row(
        45,
        f"python sweeps/frozen_world_model.py preset=laptop {OFFLINE}",
        (
            "…/model: world_model.latent_dim is 16, expected 128; world_model.encoder_units is "
            "[16], expected [128]; world_model.units is [16], expected [128, 128]; "
            "world_model.activation is mish, expected silu",
        ),
        prepare=a_world_model,
        setting="a model of other sizes",
    ),
    Row(
        45,
        f"{EVALUATE} model",
        ("model/agent.pt: damaged or missing (SHA-256 differs from the manifest)",),
        prepare=a_broken_model(b""),
        setting="a checkpoint with a file of 0 bytes",
    ),
    Row(
        45,
        f"{EVALUATE} model",
        ("model/agent.pt: damaged or missing (SHA-256 differs from the manifest)",),
        prepare=a_broken_model(b"<!DOCTYPE html>"),
        setting="a checkpoint whose weights are a web page",
    ),
    Row(
        45,
        "python -m flowpwm import-checkpoint mt30.pt out",
        ("mt30.pt: not a readable checkpoint (File is not a zip file)",),
        files={"mt30.pt": "<!DOCTYPE html>"},
    ),
    Row(
        45,
        "python -m flowpwm import-checkpoint mt30.pt out",
        ("mt30.pt: not a readable checkpoint (File is not a zip file)",),
        files={"mt30.pt": b""},
    ),
    Row(45, f"{EVALUATE} nowhere", ("nowhere: no checkpoint",)),
    train(
        46,
        "reacher-easy laptop mode=joint dataset=data init_world_model=model",
        (
            "mode joint starts from scratch, but init_world_model is 'model'; use "
            "policy_finetune to start from it"
        ),
    ),
    train(
        46,
        "reacher-easy laptop mode=policy_frozen dataset=data",
        "init_world_model must be set in mode policy_frozen: the folder of a world model",
    ),
    train(
        47,
        "reacher-easy laptop mode=joint dataset=data",
        "dataset: data holds no dataset.json; expected the folder of a converted dataset",
        prepare=lambda folder: (folder / "data").mkdir(),
        setting="an empty folder",
    ),
    tune(
        47,
        "task=walker-run mode=joint dataset=data",
        "…/data: no task 'walker-run'; found: reacher-easy, pendulum-swingup.",
        prepare=a_dataset,
        setting="a dataset of other tasks",
    ),
    tune(
        47,
        "task=pendulum-swingup mode=joint dataset=data",
        "…/data: obs_dim of pendulum-swingup is 6; expected 3",
        prepare=a_dataset,
        setting="a dataset of another version of the task",
    ),
    tune(
        47,
        "mode=pretrain",
        "dataset must be set in mode pretrain: the folder of a dataset (of convert-dataset or "
        "make-dataset)",
    ),
    tune(
        48,
        (
            "preset='laptop 317M' num_envs=4096 buffer_capacity=40_000_000 epochs=4000 "
            "confirm.seeds=2000"
        ),
        "disk: up to … TB are needed, … are free in …; make room, or start all the same with --yes",
    ),
    tune(
        49,
        "--time-limit 1s",
        "--time-limit must be at least 60s, got 1s: to start and to save takes that long",
    ),
    tune(
        49,
        "--time-limit 3600",
        "--time-limit must be a time such as 12h, 1h30m or 90m, got '3600'",
    ),
    tune(
        50,
        "--resume run horizon=16",
        (
            "--resume cannot change horizon: as the presets have it then, 16 now; --extend adds "
            "to a sweep, for all else start another"
        ),
        prepare=a_run,
        setting="a run without results",
    ),
    tune(50, "--retry-failed", "--retry-failed needs --resume PATH or --extend PATH"),
    tune(
        50,
        "--resume nowhere",
        "--resume nowhere: no sweep there (No such file or directory: nowhere/sweep.yaml)",
    ),
    tune(
        50,
        "--resume run",
        "--resume run: run/sweep.yaml cannot be read (…)",
        files={"run/sweep.yaml": "[1"},
    ),
    Row(
        50,
        f"{COMPARE} --resume run",
        ("--resume run: this is a sweep 'flow_tuning'; use sweeps/flow_tuning.py",),
        prepare=a_run,
        setting="a run of another sweep",
    ),
    Row(
        52,
        f"{ANALYSIS} status run",
        code=0,
        warns="no trials yet",
        prepare=a_run,
        setting="a run without results",
    ),
    Row(
        52,
        f"{ANALYSIS} compare run",
        ("no results yet in run: the confirm stage does not have trials of both arms",),
        code=3,
        prepare=a_run,
        setting="a run without results",
    ),
    Row(52, f"{ANALYSIS} status nowhere", ("nowhere: no such folder",)),
    Row(
        52,
        f"{ANALYSIS} status empty",
        ("empty: not the results folder of a sweep (it has no events/)",),
        prepare=lambda folder: (folder / "empty").mkdir(),
        setting="an empty folder",
    ),
    tune(
        53,
        "arms.flow=mlp integrator=[heun]",
        "flow: world_model.integrator is an option of world_model.kind=flow, but "
        "world_model.kind=mlp",
    ),
    Row(
        53,
        f"{COMPARE} preset=laptop arms=[mlp,flow_v1,other] arms.other=flow_v1",
        ("flow_v1 (…) and other (…) are the same configuration",),
    ),
    tune(55, "goal='学习 🚀 שלום' --dry-run", code=0, warns="goal       学习 🚀 שלום"),
    tune(56, "epochs=9223372036854775808", "epochs must be below 2**63, got 9223372036854775808"),
    tune(
        56,
        "screen.trials=9223372036854775808",
        "screen.trials must be at most 9223372036854775807, got 9223372036854775808",
    ),
    tune(57, "substeps=true", "flow: world_model.substeps must be a whole number, got True"),
    tune(57, "screen.trials=true", "screen.trials must be a whole number of at least 1, got True"),
    tune(58, "wandb=-1", "wandb must be one of off, offline, online, got -1"),
    tune(59, "evaluation.episodes=0", "evaluation.episodes must lie in [1, 100000], got 0"),
    tune(59, "confirm.episodes=0", "confirm.episodes must be a whole number of at least 1, got 0"),
    Row(
        59,
        f"{EVALUATE} model --episodes 0",
        ("evaluation.episodes must lie in [1, 100000], got 0",),
        prepare=a_world_model,
        setting="a checkpoint",
    ),
    tune(
        60,
        "optim.schedule=exponential",
        "unknown optim.schedule 'exponential'; known: linear, cosine, constant.",
    ),
)

#: Kinds of input that cannot be given here in that form, and what stands in their place.
NOTES: Mapping[int, str] = {
    2: "Sizes of observations and actions come from the tasks; nobody can leave them out.",
    4: "Naming several tasks is the switch; any may be among them, `ant` too.",
    18: "A sweep has one score, the mean return. Only a report can be asked for another column.",
    19: "Returns are always maximised; `mode` is the way to train.",
    20: "Rungs are fractions of a trial's own budget.",
    21: "Scheduler and search are not chosen by name: `screen.*` and `search.seed` set them.",
    39: "A sweep is named by its script. `../x`, `a/b`, an empty name, one of 300 letters, with a "
    "line break, `CON` or `-x` is refused with the names that are allowed.",
    46: "The mode says whether a world model is tuned along; no second setting can be forgotten.",
    51: "A resume with another version of the code, Python or packages goes on with a warning that "
    "names what changed.",
    54: "Ray refuses a node of another Python or Ray when it joins; a sweep refuses one of other "
    "versions of torch, MuJoCo and what else counts, unless they are meant (`--yes`).",
    58: "W&B's time-outs are its own; it runs in the worker.",
}


def page() -> str:
    """`docs/bad-input.md`."""
    lines = [
        "# Bad input and what is said about it",
        "",
        "Every input of this table is refused with exit code 2 before anything is started (6 for",
        "a folder that cannot be written), or is accepted where it says so. The table is what",
        "`tests/sweeps/check` runs; it is written by",
        "`python -m tests.sweeps.check.bad_inputs > docs/bad-input.md`. … stands for",
        "what depends on the machine.",
        "",
        "| | input | answer |",
        "|---|---|---|",
    ]
    for number in range(1, 61):
        if number in NOTES:
            lines.append(f"| {number} | | {NOTES[number]} |")
        for row in (row for row in ROWS if row.number == number):
            answer = "<br>".join(row.says) or row.warns
            answer = f"accepted{': ' if answer else ''}{answer}" if row.accepted else answer
            lines.append(f"| {number} | {_input(row)} | {_cell(answer)} |")
    return "\n".join(lines) + "\n"


def _input(row: Row) -> str:
    shown = [f"`{_cell(row.command)}`", *([f"({_cell(row.setting)})"] if row.setting else [])]
    for name, content in row.files.items():
        if not row.setting and len(content) < 200:
            text = content if isinstance(content, str) else repr(content)[2:-1]
            shown.append(f"{name}: `{_cell(text.strip() or ' ')}`")
    return " ".join(shown)


def _cell(text: str) -> str:
    for old, new in (("|", "\\|"), ("\r", ""), ("\n", " ⏎ "), ("\t", "→"), ("\x00", "\\0")):
        text = text.replace(old, new)
    return text


if __name__ == "__main__":
    print(page(), end="")
