"""The Containerfile, read and not built: sources, user, constraints, and nothing secret."""

import json
import re
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Containerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """Each instruction with its arguments; comments left out, continued lines joined."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    found = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(word.upper(), rest) for word, rest in found]


def arguments(name: str) -> list[str]:
    return [rest for word, rest in instructions() if word == name]


def sources() -> list[str]:
    words = [[w for w in rest.split() if not w.startswith("--")] for rest in arguments("COPY")]
    return [source for copied in words for source in copied[:-1]]


def test_the_base_is_one_version_and_the_place_of_its_digest_is_shown() -> None:
    (base,) = arguments("FROM")
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", base)
    assert f"{base}@sha256:DIGEST" in TEXT


def test_everything_that_is_copied_is_there_and_is_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule[1:] for rule in rules if rule.startswith("!")}
    assert set(sources()) == kept
    assert all((ROOT / source).exists() for source in sources())


def test_what_the_installation_reads_is_copied_before_it() -> None:
    steps = instructions()
    first = next(i for i, (name, rest) in enumerate(steps) if name == "RUN" and "pip" in rest)
    before = " ".join(rest for name, rest in steps[:first] if name == "COPY")
    for name in ("constraints.txt", "pyproject.toml", "README.md", "LICENSE"):
        assert name in before.split()


def test_every_installation_is_held_to_the_constraints() -> None:
    runs = [rest for rest in arguments("RUN") if "pip install" in rest]
    assert runs and all("-c constraints.txt" in rest for rest in runs)
    assert all("--index" not in rest and "://" not in rest for rest in runs)


def test_it_runs_as_a_user_without_rights_from_before_anything_is_installed() -> None:
    steps = instructions()
    names = [name for name, _ in steps]
    (user,) = arguments("USER")
    assert user not in ("root", "0")
    assert f"useradd --uid 1000 --create-home {user}" in arguments("RUN")[0]
    first = next(i for i, (name, rest) in enumerate(steps) if name == "RUN" and "pip" in rest)
    assert names.index("USER") < first
    assert all(f"--chown={user}:{user}" in rest for rest in arguments("COPY"))


def test_nothing_is_fetched_and_nothing_is_secret() -> None:
    assert arguments("ADD") == [] and arguments("EXPOSE") == []
    assert not re.search(r"\b(curl|wget|git clone)\b", TEXT)
    words = " ".join(arguments("ENV") + arguments("ARG"))
    assert not re.search(r"(?i)(key|secret|passw|token)\w*\s*=\s*\S{16,}", words)
    assert "RAY_AUTH_MODE=token" in words


def test_its_command_is_a_dry_run_of_a_script_that_is_copied() -> None:
    (command,) = arguments("CMD")
    interpreter, script, flag = json.loads(command)
    assert (interpreter, flag) == ("python", "--dry-run")
    assert (ROOT / script).is_file()
    assert PurePosixPath(script).parts[0] in sources()


def test_it_says_that_it_is_not_built_by_the_tests() -> None:
    assert "does not build it" in " ".join(TEXT.split())
