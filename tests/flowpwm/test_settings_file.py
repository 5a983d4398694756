"""Files of settings: the same meaning as on a command line, before its words, with their lines."""

from pathlib import Path

import pytest

from flowpwm.checks import ConfigError, without_secrets
from flowpwm.commands.settings import parse_settings
from flowpwm.config import flatten
from flowpwm.safe_yaml import read_mapping
from flowpwm.settings_file import Given, located, read_settings


def written(folder: Path, text: str, name: str = "run.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_means_what_the_same_words_mean(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "preset: point-mass laptop flow\n"
        "epochs: 1_000\n"
        "optim: {wm_lr: 1e-4, betas: [0.7, .95]}\n"
        "world_model.substeps: 4\n"
        "world_model:\n  units: [32, 32]\n  integrator: heun\n",
    )
    words = "point-mass laptop flow epochs=1_000 optim.wm_lr=1e-4 optim.betas=[0.7,.95]"
    words += " world_model.substeps=4 world_model.units=[32,32] world_model.integrator=heun"
    assert flatten(parse_settings([], [path])) == flatten(parse_settings(words.split()))


def test_words_win_over_files_and_later_files_over_earlier_ones(tmp_path: Path) -> None:
    base = written(
        tmp_path, "preset: point-mass 5M\nhorizon: 4\nepochs: 10\nseed: 1\n", "base.yaml"
    )
    own = written(tmp_path, "horizon: 8\nepochs: 20\n", "own.yaml")
    config = parse_settings(["1M", "epochs=30"], [base, own])
    assert (config.seed, config.horizon, config.epochs) == (1, 8, 30)
    assert config.world_model.latent_dim == 128  # the word comes after the file's presets


def test_what_one_mapping_takes_over_from_another_is_its_own(tmp_path: Path) -> None:
    text = "base: &base {a: 1, b: 2}\nown:\n  <<: *base\n  b: 3\nboth: {<<: [{c: 4}, *base]}\n"
    document = read_mapping(written(tmp_path, text))
    assert document.values["own"] == {"a": 1, "b": 3}
    assert document.values["both"] == {"c": 4, "a": 1, "b": 2}
    assert document.line(("own", "b")) == 4
    assert document.line(("own", "a")) == 2  # of the nearest key that stands there


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("012", 12),
        ("16:30", "16:30"),
        ("off", "off"),
        ("no", "no"),
        ("2024-01-01", "2024-01-01"),
        ("true", True),
        ("'true'", "true"),
        ("|\n  two\n  lines\n", "two\nlines\n"),
    ],
)
def test_words_are_what_they_seem(text: str, value: object, tmp_path: Path) -> None:
    (setting,) = read_settings([written(tmp_path, f"x: {text}\n")]).values()
    assert setting.value == value and type(setting.value) is type(value)


def test_other_programs_files_are_read_as_they_read_them(tmp_path: Path) -> None:
    path = written(tmp_path, "a: 012\nb: off\nc: 1e-4\n")
    assert read_mapping(path, yaml_1_1=True).values == {"a": 10, "b": False, "c": "1e-4"}


def test_a_message_tells_the_places_of_the_settings_that_it_names() -> None:
    given = {
        key: Given(1, f"f:{i}") for i, key in enumerate(("horizon", "substeps", "optim.wm_lr"))
    }
    assert located("horizon must be 1", given) == "horizon must be 1 (f:0)"
    assert located("world_model.substeps is 0", given) == "world_model.substeps is 0 (f:1)"
    assert located("wm_horizon must be 1", given) == "wm_horizon must be 1"
    assert located("horizon.x and optim.wm_lr", given) == "horizon.x and optim.wm_lr (f:2)"


def test_what_a_word_has_replaced_is_not_the_files_fault(tmp_path: Path) -> None:
    path = written(tmp_path, "horizon: 4\nepochs: 0\n")
    with pytest.raises(ConfigError, match=r"^horizon must be at least 1, got 0$"):
        parse_settings(["point-mass", "horizon=0", "epochs=1"], [path])


def test_secrets_are_struck_out_of_a_text() -> None:
    text = "unknown --api-key=abc=d and token abc; seed=3"
    assert without_secrets(text) == "unknown --api-key=*** and token *** seed=3"
