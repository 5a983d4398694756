"""cluster.yaml is what Ray takes, and the doctor finds what Ray lets through."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from sweeps.core.doctor.__main__ import check_cluster, main
from sweeps.core.host.ray_settings import SYSTEM_CONFIG

ROOT = Path(__file__).parents[3]


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a Ray token of mode 0600."""
    monkeypatch.setenv("HOME", str(tmp_path))
    path = tmp_path / ".ray" / "auth_token"
    path.parent.mkdir()
    path.write_text("t")
    path.chmod(0o600)
    return path


def errors_after(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> list[str]:
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    change(config)
    path = tmp_path / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    return [f"{found.where}: {found.message}" for found in check_cluster(path) if found.error]


def replace_in(commands: list[str], old: str, new: str) -> None:
    assert any(old in command for command in commands)
    commands[:] = [command.replace(old, new) for command in commands]


def test_our_file_has_no_error_and_names_what_to_set(token: Path) -> None:
    findings = check_cluster(ROOT / "cluster.yaml")
    assert [found for found in findings if found.error] == []
    assert [found.message.split()[0] for found in findings] == ["203.0.113.0/24", "fs-00000000"]


def test_the_command_line_answers_ok(token: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cluster", str(ROOT / "cluster.yaml")]) == 0
    assert (
        capsys.readouterr()
        .out.splitlines()[-1]
        .endswith("cluster.yaml: ok once 2 of its values are set")
    )


def test_our_head_runs_no_trial_and_spot_goes_before_on_demand() -> None:
    types = yaml.safe_load((ROOT / "cluster.yaml").read_text())["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu_spot"]["node_config"]["InstanceMarketOptions"] == {"MarketType": "spot"}
    assert "InstanceMarketOptions" not in types["gpu_on_demand"]["node_config"]
    assert types["gpu_spot"]["priority"] > types["gpu_on_demand"]["priority"]


def test_our_head_tells_its_cluster_what_a_job_of_slurm_does() -> None:
    commands = yaml.safe_load((ROOT / "cluster.yaml").read_text())["head_start_ray_commands"]
    words = shlex.split(commands[-1])
    (told,) = [word for word in words if word.startswith("--system-config=")]
    assert json.loads(told.partition("=")[2]) == SYSTEM_CONFIG


def nodes(config: dict[str, Any]) -> dict[str, Any]:
    return config["available_node_types"]


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "an open dashboard": (
        lambda c: replace_in(c["head_start_ray_commands"], "host=127.0.0.1", "host=0.0.0.0"),
        "--dashboard-host=0.0.0.0 opens",
    ),
    "an open dashboard given with a space": (
        lambda c: replace_in(c["head_start_ray_commands"], "host=127.0.0.1", "host 10.0.0.7"),
        "--dashboard-host=10.0.0.7 opens",
    ),
    "no token": (
        lambda c: replace_in(c["worker_start_ray_commands"], "RAY_AUTH_MODE=token", ""),
        "worker_start_ray_commands: must export RAY_AUTH_MODE=token",
    ),
    "Ray's own start commands": (
        lambda c: c.pop("head_start_ray_commands"),
        "head_start_ray_commands: has no `ray start`",
    ),
    "a misspelt instance key": (
        lambda c: nodes(c)["gpu_spot"]["node_config"].update(InstanceTyp="g6e.2xlarge"),
        "unknown key 'InstanceTyp'; did you mean 'InstanceType'?",
    ),
    "more workers at least than at most": (
        lambda c: nodes(c)["gpu_spot"].update(min_workers=5, max_workers=2),
        "min_workers 5 is more than max_workers 2",
    ),
    "a misspelt top key": (lambda c: c.update(max_workerz=1), "'max_workerz' was unexpected"),
    "an unknown head": (lambda c: c.update(head_node_type="boss"), "`head_node_type` must be one"),
    "a head that takes trials": (
        lambda c: nodes(c)["head"].update(resources={"CPU": 4}),
        "available_node_types.head.resources: must have CPU: 0",
    ),
    "a local file that is not there": (
        lambda c: c["file_mounts"].update({"~/data": "/no/such/data"}),
        "file_mounts.~/data: no local file or folder /no/such/data",
    ),
    "no token file for the nodes": (
        lambda c: c["file_mounts"].pop("~/.ray/auth_token"),
        "file_mounts: has no ~/.ray/auth_token",
    ),
    "a secret": (
        lambda c: c["setup_commands"].append("export WANDB_API_KEY=0123456789abcdef0123"),
        "looks like a secret",
    ),
    "node types that are a list": (
        lambda c: c.update(available_node_types=[]),
        "available_node_types",
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_doctor_refuses(name: str, token: Path, tmp_path: Path) -> None:
    change, message = CHANGES[name]
    found = errors_after(change, tmp_path)
    assert any(message in line for line in found), found


def test_a_missing_token_says_how_to_make_one(token: Path, tmp_path: Path) -> None:
    token.unlink()
    found = errors_after(lambda config: None, tmp_path)
    assert len(found) == 1
    assert "ray get-auth-token --generate" in found[0]


def test_a_token_that_others_can_read_is_refused(token: Path, tmp_path: Path) -> None:
    token.chmod(0o644)
    found = errors_after(lambda config: None, tmp_path)
    assert len(found) == 1
    assert "mode 0644" in found[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cluster_name: a\ncluster_name: b\n", "'cluster_name' is given twice"),
        ("a: [1\n", "is not YAML"),
        ("- a\n", "holds a list; expected a mapping"),
        ("", "is empty"),
        ("a: !!python/object:os.system {}\n", "has the tag !!python/object:os.system"),
    ],
)
def test_what_is_no_cluster_file_is_one_finding(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    (finding,) = check_cluster(path)
    assert message in finding.message


def test_a_missing_file_ends_with_the_usage_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--cluster", str(tmp_path / "none.yaml")]) == 2
    assert "no such file" in capsys.readouterr().out
