"""Secrets of the environment do not get into what we write, whoever quotes them."""

import logging
from pathlib import Path

import pytest

from sweeps.core.driver.callback import describe
from sweeps.core.host import secrets
from sweeps.core.worker.failures import last_line
from sweeps.core.worker.triallog import TrialLog

SECRET = "s3cr3t-9f2c"


@pytest.mark.parametrize(
    ("name", "value", "hidden"),
    [
        ("WANDB_API_KEY", SECRET, True),
        ("MY_TOKEN", SECRET, True),
        ("DB_PASSWORD", SECRET, True),
        ("RAY_AUTH_TOKEN_PATH", "/home/me/.ray/auth_token", False),
        ("HOME", "/home/somebody", False),
        ("MY_TOKEN", "short", False),
    ],
)
def test_values_of_variables_that_are_named_like_secrets_are_struck_out(
    name: str, value: str, hidden: bool
) -> None:
    text = f"cannot log in with {value} to the server"
    expected = text.replace(value, "***") if hidden else text
    assert secrets.struck_out(text, {name: value, "PATH": "/bin"}) == expected


def test_of_two_secrets_in_one_the_whole_goes() -> None:
    both = {"A_KEY": "12345678", "B_KEY": "1234567890"}
    assert secrets.struck_out("x 1234567890 y", both) == "x *** y"


def test_an_exception_that_quotes_a_secret_leaves_no_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LICENCE_KEY", SECRET)
    try:
        raise RuntimeError(f"licence {SECRET} is not valid")
    except RuntimeError as error:
        assert last_line(error) == "RuntimeError: licence *** is not valid"
        assert SECRET not in describe(error)
        with TrialLog(tmp_path, "t", 1) as log:
            log.failure(error)
            log.warning("tried %s", SECRET)
            logging.getLogger("of.a.library").warning("used %s", SECRET)
    written = (tmp_path / log.relative_path).read_text()
    assert SECRET not in written
    assert written.count("***") == 3
