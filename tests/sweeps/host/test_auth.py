"""The token that Ray asks for: made by us, for us alone."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sweeps.core.host import auth
from tests.sweeps.tiny import environment


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty home, and the umask that most systems have."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (auth.PATH_VARIABLE, auth.TOKEN_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    before = os.umask(0o022)
    yield tmp_path
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_token_is_random_and_for_its_owner_alone(home: Path) -> None:
    assert not auth.has_token()
    assert auth.ensure_token() == ""
    token = home / ".ray" / "auth_token"
    assert (mode(token), mode(token.parent)) == (0o600, 0o700)
    assert len(token.read_text()) == 64
    assert list(token.parent.iterdir()) == [token]
    assert auth.has_token()
    other = home / "other"
    auth.write_token(other)
    assert other.read_text() != token.read_text()


def test_a_token_that_others_can_read_is_closed_and_a_line_says_so(home: Path) -> None:
    token = home / ".ray" / "auth_token"
    token.parent.mkdir()
    token.write_text("t")
    token.chmod(0o644)
    said = auth.ensure_token()
    assert "had mode 0644" in said and str(token) in said
    assert (mode(token), token.read_text()) == (0o600, "t")
    assert auth.ensure_token() == ""


def test_a_path_of_the_environment_goes_before_the_home(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(auth.PATH_VARIABLE, str(home / "cluster" / "token"))
    auth.ensure_token()
    assert mode(home / "cluster" / "token") == 0o600
    assert not (home / ".ray").exists()
    assert auth.shown_token() == "~/cluster/token"


def test_a_token_in_the_environment_makes_no_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(auth.TOKEN_VARIABLE, "t")
    assert auth.ensure_token() == ""
    assert list(home.iterdir()) == []
    assert auth.shown_token() == "$RAY_AUTH_TOKEN"


def test_a_second_writer_keeps_the_token_of_the_first(home: Path) -> None:
    auth.write_token(home / "token")
    first = (home / "token").read_text()
    auth.write_token(home / "token")
    assert (home / "token").read_text() == first


def test_a_local_sweep_has_its_token_before_ray_could_make_one(tmp_path: Path) -> None:
    # Ray is kept from starting by a module of its name; what was done before its import counts.
    (tmp_path / "ray.py").write_text("raise SystemExit('ray is imported')")
    code = (
        "from sweeps.core.host import cluster\n"
        "cluster.prepare(None)\n"
        "with cluster.connected(None): pass\n"
    )
    env = environment(HOME=str(tmp_path))
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), env["PYTHONPATH"]])
    done = subprocess.run(
        ["bash", "-c", 'umask 022; exec "$@"', "-", sys.executable, "-c", code],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ray is imported" in done.stderr
    assert mode(tmp_path / ".ray" / "auth_token") == 0o600


def test_every_process_is_told_the_mode(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sweeps.core.host import cluster

    monkeypatch.delenv(auth.MODE_VARIABLE, raising=False)
    cluster.prepare(None)
    assert os.environ[auth.MODE_VARIABLE] == "token"
    assert list(home.iterdir()) == []  # a dry run makes nothing
