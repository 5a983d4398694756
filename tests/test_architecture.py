"""Who may import whom. Imports are read from the source, also those inside functions."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RESULT_READERS = {
    "sweeps.core.store.schema",
    "sweeps.core.store.compact",
    "sweeps.core.store.events",
    "sweeps.core.store.series",  # what is imported is written as sweeps write it
    "sweeps.core.reference.margins",
    "sweeps.core.reference.published",
    "sweeps.core.reference.scales",
    "sweeps.core.reference.shrinkage",
    "sweeps.core.reference.welch",
}


def imports(path: Path) -> set[str]:
    """Every module that a source file names in an import, such as `sweeps.core.store.events`."""
    package = ".".join(path.relative_to(ROOT).with_suffix("").parts[:-1])
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*parts, base] if base else parts)
            found.add(base)
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def names_module(found: set[str], module: str) -> bool:
    return any(name == module or name.startswith(module + ".") for name in found)


@pytest.mark.parametrize("package", ["flowpwm", "sweeps", "analysis"])
def test_every_package_has_modules_to_check(package: str) -> None:
    assert modules(package)


@pytest.mark.parametrize("path", modules("flowpwm"), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_algorithm_knows_neither_sweeps_nor_tables(path: Path) -> None:
    banned = ("ray", "pyarrow", "wandb", "pandas", "sweeps", "analysis")
    assert [name for name in banned if names_module(imports(path), name)] == []


@pytest.mark.parametrize("path", modules("analysis"), ids=lambda p: str(p.relative_to(ROOT)))
def test_analysis_reads_results_only(path: Path) -> None:
    found = imports(path)
    assert [name for name in ("torch", "ray", "flowpwm") if names_module(found, name)] == []
    named = {name for name in found if name.startswith("sweeps.")}
    # `from sweeps.core.store import schema` names the package and then the module.
    modules_named = {".".join(name.split(".")[:4]) for name in named} - {
        "sweeps.core.store",
        "sweeps.core.reference",
    }
    assert modules_named <= RESULT_READERS


def test_one_module_sees_both_ray_and_the_training_loop() -> None:
    both = [
        path.relative_to(ROOT).as_posix()
        for path in modules("sweeps")
        if names_module(imports(path), "ray") and names_module(imports(path), "flowpwm.train")
    ]
    assert both == ["sweeps/core/worker/trainable.py"]


def test_no_file_in_sweeps_hides_a_standard_module() -> None:
    # `python sweeps/x.py` puts the folder first on the import path.
    names = {path.stem for path in (ROOT / "sweeps").iterdir() if path.name != "__pycache__"}
    assert names & (sys.stdlib_module_names - {"__init__"}) == set()


@pytest.mark.parametrize("name", ["sweeps/__init__.py", "sweeps/core/__init__.py"])
def test_the_packages_of_sweeps_import_nothing(name: str) -> None:
    assert (ROOT / name).read_text().strip() == ""


@pytest.mark.parametrize(
    "module",
    [
        "analysis",
        "sweeps.core.store.compact",
        "sweeps.core.store.events",
        "sweeps.core.reference.published",
        "sweeps.core.reference.welch",
    ],
)
def test_reading_results_loads_neither_torch_nor_ray(module: str) -> None:
    code = f"import sys, {module}; print(sorted({{'torch', 'ray', 'flowpwm'}} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_algorithm_loads_without_ray() -> None:
    code = "import sys, flowpwm.config; print(sorted({'ray', 'pandas'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
