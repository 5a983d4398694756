"""Doctor: Python and the packages, against the ranges that the project asks for."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sweeps.core.doctor.findings import Finding, fail, guarded, ok

PROJECT = Path(__file__).resolve().parents[3] / "pyproject.toml"
INSTALL = "python -m pip install -c constraints.txt -e ."
#: Without one of these Ray starts and silently leaves the dashboard out.
DASHBOARD_MODULES = ("aiohttp", "aiohttp_cors", "grpc", "opencensus", "prometheus_client")


def requirements(project: Path = PROJECT) -> tuple[str, list[str]]:
    """The range of Python, and the requirements that hold for every installation.

    Those of `project`, or outside of a source tree those of the installed package.
    """
    if project.is_file():
        table = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
        return table["requires-python"], list(table["dependencies"])
    found = importlib.metadata.distribution("flowpwm")
    needs = [line for line in found.requires or () if "extra ==" not in line]
    return found.metadata["Requires-Python"], needs


@guarded
def check_python(project: Path = PROJECT) -> Iterator[Finding]:
    """The interpreter."""
    from packaging.specifiers import SpecifierSet

    wanted, _ = requirements(project)
    version = platform.python_version()
    text = f"{version} at {sys.executable}"
    if SpecifierSet(wanted).contains(version, prereleases=True):
        yield ok("python", text)
    else:
        yield fail("python", f"{text}, needs {wanted}", "make PYTHON=python3.12 test")


@guarded
def check_packages(project: Path = PROJECT) -> Iterator[Finding]:
    """Every package that is missing or out of its range, or one line for all of them."""
    from packaging.requirements import Requirement

    wrong = 0
    names = []
    for line in requirements(project)[1]:
        requirement = Requirement(line)
        if requirement.marker is not None and not requirement.marker.evaluate():
            continue
        found = _version(requirement.name)
        if found is None:
            wrong += 1
            yield fail("packages", f"{requirement.name} is not installed", INSTALL)
        elif not requirement.specifier.contains(found, prereleases=True):
            wrong += 1
            message = f"{requirement.name} is {found}, needs {requirement.specifier}"
            yield fail("packages", message, INSTALL)
        else:
            names.append(f"{requirement.name} {found}")
    if not wrong:
        yield ok("packages", ", ".join(names))


@guarded
def check_dashboard() -> Iterator[Finding]:
    """The extra of Ray that its dashboard needs, as Ray names it, and that it can be imported."""
    from packaging.requirements import Requirement

    missing = []
    for line in importlib.metadata.requires("ray") or ():
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or marker.evaluate({"extra": ""}):
            continue  # what Ray needs in any case
        if marker.evaluate({"extra": "default"}) and _version(requirement.name) is None:
            missing.append(requirement.name)
    for name in DASHBOARD_MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            missing.append(f"{name} ({error})")
    if missing:
        message = f"the dashboard needs {', '.join(dict.fromkeys(missing))}"
        yield fail("dashboard", message, f"{INSTALL}  (ray[default], not ray)")
    else:
        yield ok("dashboard", "its packages are installed and can be imported")


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
