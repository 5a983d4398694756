"""Every command of the docs and the README passes the check of its dry run."""

import importlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from flowpwm import checkpoint
from flowpwm.compose import compose
from flowpwm.datasets import convert
from flowpwm.datasets.chunks import write_chunk
from flowpwm.datasets.published import layout_of
from flowpwm.envs import spec
from flowpwm.envs.tasks import task_set
from flowpwm.pretrained import write_imported
from flowpwm.state import TrainState
from flowpwm.tdmpc2 import PublishedModel
from flowpwm.world_models.mlp import MLPWorldModel
from sweeps.core.check.checked import Checked
from sweeps.core.check.lint.rules import lint
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import parse
from sweeps.core.definition.compare import Compare
from sweeps.core.definition.settings import UsageError
from sweeps.core.definition.sweep import Sweep
from sweeps.core.driver.main import main
from sweeps.core.pages.start import start_page
from sweeps.core.protocol.requests import Sizing
from sweeps.core.store.schema import ExitCode
from tests.sweeps.tiny import ROOT

PAGE = (ROOT / "docs" / "experiments.md").read_text()
EXTENDING = (ROOT / "docs" / "extending.md").read_text()
README = (ROOT / "README.md").read_text().replace("\\\n", "")
COMMANDS = [
    command
    for command in re.findall(
        r"(?:^|`)(python sweeps/\S+\.py[^`\n]*)", PAGE + README + EXTENDING, re.MULTILINE
    )
    if not {"--resume", "--help"} & {*command.split()}  # those compose nothing
]
SCRIPTS = sorted(path.stem for path in (ROOT / "sweeps").glob("*.py") if path.stem != "__init__")


def sweep_of(script: str) -> Sweep:
    return importlib.import_module(f"sweeps.{script}").SWEEP


def checked(command: str) -> tuple[Sweep, Checked]:
    _, path, *words = shlex.split(command, comments=True)
    sweep, _ = parse(sweep_of(Path(path).stem), words)
    return sweep, check(sweep, sizing=Sizing(48 * 2**30))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files under the names that the page uses, data and weights as small as they can be."""
    home = tmp_path_factory.mktemp("home")
    (home / "mine.yaml").write_text("epochs: 100\n")
    layout = layout_of("mt30")
    tasks = torch.arange(len(layout.names), dtype=torch.int32)[:, None].expand(-1, 3).contiguous()
    obs, action = torch.zeros(30, 3, layout.obs_dim), torch.zeros(30, 3, layout.action_dim)
    reward = torch.zeros(30, 3)
    action[:, 0], reward[:, 0] = torch.nan, torch.nan  # of what came before the first observation
    (home / "chunks").mkdir()
    write_chunk(home / "chunks" / "chunk_0.pt", obs, action, reward, tasks)
    for name in ("mt30", "small"):
        convert(home / "chunks", home / "data" / name)
    _weights(home / "checkpoints" / "mt30_48M")
    words = {"mode": "pretrain", "dataset": str(home / "data" / "small"), "horizon": 2}
    names = "reacher-easy+cartpole-swingup"
    sizes = {"task": names, "world_model.task_dim": 16}
    state = TrainState.start(compose("laptop offline_laptop", words | sizes))
    checkpoint.save(state, home / "checkpoints" / "small" / "best", resumable=False)
    (home / "mine.yaml").write_text("horizon: 16\nworld_model: {units: [64, 64]}\n")
    return home


def _weights(folder: Path) -> None:
    config = compose("walker-stand 48M mt30_weights").world_model
    with torch.device("meta"):
        model = MLPWorldModel(config, task_set("mt30"))  # pyright: ignore[reportArgumentType]
    weights = {name: torch.zeros(value.shape) for name, value in model.state_dict().items()}
    source = folder.parent / "mt30_48M.pt"
    source.parent.mkdir()
    torch.save({}, source)
    read = PublishedModel("PWM", config, task_set("mt30"), weights, {})  # type: ignore[arg-type]
    write_imported(read, source, folder)


@pytest.fixture
def _there(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(folder)
    yield


@pytest.mark.usefixtures("_there")
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_pages_passes_its_check(command: str) -> None:
    sweep, found = checked(command)
    text = start_page(sweep, found, 1, "(dry run)")
    assert len(found.plans) >= len(sweep.arms)
    for arm in sweep.arms:
        assert arm in text


def test_the_page_has_every_script_and_every_script_its_own_name() -> None:
    for script in SCRIPTS:
        assert sweep_of(script).name == script
        assert f"python sweeps/{script}.py" in PAGE


@pytest.mark.parametrize("script", [s for s in SCRIPTS if isinstance(sweep_of(s), Compare)])
def test_a_script_of_a_comparison_is_short(script: str) -> None:
    code = (ROOT / "sweeps" / f"{script}.py").read_text().split("SWEEP = ")[1]
    assert len(code.splitlines()) <= 30


@pytest.mark.usefixtures("_there")
def test_the_rows_train_what_they_say() -> None:
    """Arms, budgets and batches of the tables, from the configurations that would run."""
    sweep, found = checked("python sweeps/multitask.py dataset=data/mt30")
    seen = {plan.arm: plan.config for plan in found.plans}
    assert {arm: config.wm_batch_size for arm, config in seen.items()} == {
        "mlp": 256,
        "flow_v1": 512,
        "flow_v2": 512,
        "flow_v3": 512,
    }
    assert {config.world_model.task_dim for config in seen.values()} == {96}
    assert len(task_set(seen["mlp"].task)) == 30
    told = [finding.text for finding in lint(sweep, found)]
    assert any("unequal wm_batch_size: mlp 256, flow_v1 512" in text for text in told)
    assert any("wm_batch_size and world_model.kind change together" in text for text in told)

    sweep, found = checked("python sweeps/epoch_budget.py dataset=data/mt30")
    assert {plan.config.epochs for plan in found.plans} == {15_000, 50_000, 100_000, 150_000}
    assert sweep.planned_trials() == {"confirm": 2 * 3 * 4 * 3}

    words = "dataset=data/mt30 init_world_model=checkpoints/mt30_48M"
    sweep, found = checked(f"python sweeps/finetune_world_model.py {words}")
    assert sweep.planned_trials() == {"confirm": 27}
    assert {plan.config.mode for plan in found.plans} == {"policy_finetune"}
    assert {plan.config.world_model.kind for plan in found.plans} == {"mlp"}

    sweep, found = checked("python sweeps/single_task.py epochs=15000")
    assert {plan.config.wm_batch_size for plan in found.plans} == {1024}
    nfe = {plan.arm: plan.cost.nfe for plan in found.plans}
    assert nfe == {"mlp": 0, "flow_v1": 4, "flow_v2": 8, "flow_v3": 8}
    assert spec(found.plans[0].config.task).name == "ant"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["dataset=nowhere"], "dataset: {cwd}/nowhere is not a folder"),
        (["dataset=data/mt30", "task=dog-run"], "unknown task 'dog-run'"),
        (["dataset=data/mt30", "task=point-mass"], "no task 'point-mass'"),
        ([], "dataset must be set in mode joint"),
        (["dataset=checkpoints/mt30_48M"], "checkpoints/mt30_48M holds no dataset.json"),
    ],
)
@pytest.mark.parametrize("how", [["--dry-run"], []])
@pytest.mark.usefixtures("_there")
def test_data_that_is_not_there_is_one_line_before_anything_starts(
    words: list[str],
    says: str,
    how: list[str],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(folder.iterdir())
    assert main(sweep_of("full_flow"), [*words, *how]) == ExitCode.USAGE
    error, *rest = capsys.readouterr().err.splitlines()
    assert says.format(cwd=folder) in error
    assert rest == ["Nothing was started."]
    assert sorted(folder.iterdir()) == before


@pytest.mark.usefixtures("_there")
def test_weights_of_other_sizes_are_refused_with_found_and_expected() -> None:
    words = ["preset=5M offline mt30_weights", "dataset=data/mt30"]
    sweep, _ = parse(
        sweep_of("frozen_world_model"), [*words, "init_world_model=checkpoints/mt30_48M"]
    )
    with pytest.raises(UsageError, match=r"world_model\.latent_dim is 768, expected 512"):
        check(sweep)
