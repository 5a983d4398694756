"""Valid input, damaged at random: it is accepted, or refused in lines that a user can read.

`FLOWPWM_EXAMPLES=2000 pytest tests/sweeps/check/test_mutations.py` tries other and more examples.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowpwm.checks import ConfigError
from flowpwm.commands.settings import parse_settings
from flowpwm.compose import presets
from flowpwm.cost import estimate
from sweeps.core.check.sweep import check
from sweeps.core.definition.command import WORDS, known_keys, parse
from sweeps.core.definition.options import FLAGS
from sweeps.core.definition.settings import COMPARE_SETTINGS, TUNE_SETTINGS, UsageError
from sweeps.core.definition.sweep import Sweep
from tests.sweeps.tiny import COMPARE, PLAN, SIZES

ASKED = os.environ.get("FLOWPWM_EXAMPLES")
EXAMPLES = settings(
    max_examples=int(ASKED or 100),
    derandomize=ASKED is None,  # on every change the same
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
SECRET = "hunter2-0123456789"
RUN = ["point-mass", "laptop", "flow", *SIZES[1:-1], "optim.wm_lr=1e-4"]
TUNED = [*SIZES, "epochs=80", "integrator=[euler,heun]", "substeps=[1,2]", "wm_batch_size=16"]
COMPARED = [*SIZES, "epochs=20", "task=point-mass", "arms=[mlp,flow]", "seeds=2"]
FILE = """\
# a comment
preset: laptop
task: point-mass
horizon: 4
optim: {wm_lr: 1e-4, betas: [0.7, 0.95]}
world_model:
  substeps: [1, 2]
  units: &units [32, 32]
policy: {units: *units}
goal: 'what is "better"?'
"""

KEYS = sorted({*known_keys(PLAN), *TUNE_SETTINGS, *COMPARE_SETTINGS, *WORDS, "arms.flow", "arms.x"})
NASTY = [
    *("", "0", "-1", "1.5", "1e9", "1e-4", "nan", "inf", "-inf", "1e400", "9223372036854775808"),
    *("9" * 500, "true", "null", "~", "???", "none", "[]", "[[]]", "[1,1]", "[1,2", "1]", "{}"),
    *(
        "{a: 1}",
        "a: b",
        "- a",
        "uniform(1,2)",
        "uniform(2,1)",
        "int(1,9)",
        "int(1.5,2)",
        "uniform(",
    ),
    *("loguniform(0,1)", "uniform(nan,1)", "int(1," + "9" * 400 + ")", "${oc.env:HOME}", "${", "}"),
    *(
        "!!python/object:os.system",
        "*a",
        "&a [*a]",
        "<<",
        "'",
        '"',
        "'a",
        "a\nb",
        "\t",
        "\x00",
        "\\",
    ),
    *(
        "🚀",
        "\ud800",
        "../x",
        "/",
        "~nobody/x",
        "a" * 300,
        "mt30",
        "point-mass+point-mass",
        "os:path",
    ),
    *(
        "no.such:Env",
        ".:.",
        ":",
        "+",
        "flow mlp",
        "flow horizon=3",
        "flow x",
        "none=none",
        "=",
        "a=b=c",
    ),
]
values = st.one_of(
    st.sampled_from(NASTY),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.lists(st.sampled_from(NASTY), max_size=3).map(lambda items: f"[{','.join(items)}]"),
)
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=8))
words = st.one_of(
    st.builds("{}={}".format, keys, values),
    st.sampled_from([*presets(), *FLAGS, *(flag.split()[0] for flag in FLAGS)]),
    st.text(max_size=12),
)


@st.composite
def damaged_words(draw: st.DrawFn, valid: Sequence[str]) -> list[str]:
    """One to three changes to a valid command line."""
    changed = list(valid)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(changed) - 1))
        match draw(st.sampled_from(("value", "add", "drop", "letter"))):
            case "value":
                changed[at] = f"{changed[at].partition('=')[0]}={draw(values)}"
            case "add":
                changed.insert(at, draw(words))
            case "drop" if len(changed) > 1:
                del changed[at]
            case _:
                changed[at] = draw(damaged_text(changed[at]))
    return changed


@st.composite
def damaged_text(draw: st.DrawFn, valid: str) -> str:
    """A part of the text is replaced by another, or by something nasty."""
    begin = draw(st.integers(0, len(valid)))
    end = draw(st.integers(begin, min(len(valid), begin + 8)))
    put = draw(
        st.one_of(st.sampled_from(NASTY), st.text(max_size=4), st.just(valid[begin:end] * 2))
    )
    return valid[:begin] + put + valid[end:]


@contextlib.contextmanager
def in_lines_a_user_can_read() -> Iterator[None]:
    """Nothing but an answer to the user is raised."""
    try:
        yield
    except UsageError as error:
        lines = error.lines
        assert lines
    except ConfigError as error:
        lines = (str(error),)
    else:
        return
    for line in lines:
        assert line.strip() and len(line.splitlines()) == 1, line
        assert "Traceback" not in line


def decide(sweep: Sweep, asked: Sequence[str]) -> None:
    """What a sweep does with its words before anything is started."""
    with in_lines_a_user_can_read():
        chosen, options = parse(sweep, asked)
        check(chosen, many=options.yes)


@EXAMPLES
@given(damaged_words(TUNED))
def test_a_damaged_command_line_of_a_tune_sweep(asked: list[str]) -> None:
    decide(PLAN, asked)


@EXAMPLES
@given(damaged_words(COMPARED))
def test_a_damaged_command_line_of_a_compare_sweep(asked: list[str]) -> None:
    decide(COMPARE, asked)


@EXAMPLES
@given(damaged_words(RUN))
def test_a_damaged_command_line_of_a_run(asked: list[str]) -> None:
    with in_lines_a_user_can_read():
        estimate(parse_settings([word for word in asked if not word.startswith("-")]))


@EXAMPLES
@given(text=damaged_text(FILE))
def test_a_damaged_file(text: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    decide(PLAN, ["--config", str(path)])
    with in_lines_a_user_can_read():
        parse_settings(["flow"], [path])


@EXAMPLES
@given(content=st.binary(max_size=60), place=st.integers(0, len(FILE)))
def test_a_file_with_any_bytes_in_it(content: bytes, place: int, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_bytes(FILE[:place].encode() + content + FILE[place:].encode())
    with in_lines_a_user_can_read():
        parse_settings(["flow"], [path])


@EXAMPLES
@given(
    name=st.sampled_from(["key", "token", "secret", "password", "wandb_api_key", "WANDB_API_KEY"]),
    before=st.sampled_from(["", "--", "x.", "world_model.", "arms.", "optim.my_"]),
    form=st.sampled_from(["{}={}", "{}=[{}", "{}={{a: {}", "{}='{}", "arms.flow=flow {}={}"]),
    file=st.booleans(),
)
def test_the_value_of_a_secret_is_never_told(
    name: str, before: str, form: str, file: bool, tmp_path: Path
) -> None:
    word = form.format(before + name, SECRET)
    asked = [word]
    if file:
        path = tmp_path / "sweep.yaml"
        path.write_text(word.replace("=", ": ", 1))
        asked = ["--config", str(path)]
    with pytest.raises(UsageError) as refused:
        parse(PLAN, asked)
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError) as also_refused:
        parse_settings(["point-mass"], [path]) if file else parse_settings(["point-mass", word])
    assert SECRET not in str(also_refused.value)
