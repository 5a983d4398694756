"""`python -m sweeps.core.doctor`: check this machine, or a cluster file. Nothing is started.

    python -m sweeps.core.doctor [--results FOLDER] [--fix] [--json]
    python -m sweeps.core.doctor --cluster FILE

Every line is ok, warn or fail, with what to do. Exit code 0, or 1 if anything failed; 2 for a
wrong command line and for a cluster file with errors.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.core.doctor.findings import Finding

if TYPE_CHECKING:
    from sweeps.core.doctor.cluster_file import Finding as ClusterFinding

# Those of `schema.ExitCode`, whose module needs a package that may be what is missing here.
_OK, _ERROR, _USAGE = 0, 1, 2


def check_cluster(path: Path) -> list[ClusterFinding]:
    """Everything wrong with a cluster file; an unreadable one is one finding."""
    from sweeps.core.doctor import cluster_file

    return cluster_file.check_cluster(path)


def check_machine(results: Path, *, fix: bool = False) -> Iterator[Finding]:
    """Everything that a sweep needs of this machine, one finding after the other.

    `fix` closes a token file that others can read, and mends nothing else.
    """
    from sweeps.core.doctor import install, machine, ray, storage

    yield from install.check_python()
    yield from install.check_packages()
    yield from install.check_dashboard()
    yield from machine.check_cpus()
    yield from machine.check_memory()
    yield from machine.check_shared_memory()
    yield from machine.check_gpus()
    yield from machine.check_physics()
    yield from ray.check_token(fix)
    yield from ray.check_ports()
    yield from ray.check_running()
    yield from storage.check_results(results)


def main(argv: list[str] | None = None) -> int:
    """Print the findings; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sweeps.core.doctor",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--cluster", type=Path, metavar="FILE", help="check this cluster file")
    parser.add_argument("--results", type=Path, metavar="FOLDER", help="default: results")
    parser.add_argument("--fix", action="store_true", help="set the mode of the token file to 0600")
    parser.add_argument("--json", action="store_true", help="the findings as JSON")
    options = parser.parse_args(argv)
    if options.cluster is None:
        results = options.results or Path("results")
        return _report_machine(results, fix=options.fix, as_json=options.json)
    if options.fix or options.results is not None or options.json:
        parser.error("--cluster goes with no other flag")
    return _report_cluster(options.cluster)


def _report_machine(results: Path, *, fix: bool, as_json: bool) -> int:
    found = []
    for finding in check_machine(results, fix=fix):
        found.append(finding)
        if not as_json:
            todo = f"; {finding.todo}" if finding.todo else ""
            line = f"{finding.level.ljust(5)}{finding.check.ljust(14)}{finding.message}{todo}"
            print(line, flush=True)
    if as_json:
        print(json.dumps([asdict(finding) for finding in found], indent=1))
    failed = any(finding.level == "fail" for finding in found)
    return _ERROR if failed else _OK


def _report_cluster(path: Path) -> int:
    findings = check_cluster(path)
    for finding in findings:
        level = "error" if finding.error else "set before use"
        place = path if finding.line is None else f"{path}:{finding.line}"
        print(f"{place}: {level}: {finding.where}: {finding.message}")
    errors = sum(finding.error for finding in findings)
    unset = sum(not finding.error for finding in findings)
    fine = f"ok once {unset} of its values are set" if unset else "ok"
    print(f"{path}: {errors} error(s)" if errors else f"{path}: {fine}")
    return _USAGE if errors else _OK


if __name__ == "__main__":
    sys.exit(main())
