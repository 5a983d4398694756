"""Gauges of a sweep: their values, how Prometheus finds them, and that they can do no harm."""

import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from sweeps.core.driver.gauges import GAUGES, Gauges
from sweeps.core.host.processes import end_processes
from sweeps.core.store.schema import STATUSES
from tests.sweeps.driver.exporting_driver import HEARTBEAT, REMAINING, recorded
from tests.sweeps.tiny import ROOT, environment

SWEEP = "flow_tuning"
Seen = dict[tuple[str, str], float]  # by name and status


def test_the_gauges_say_how_the_sweep_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("sweeps.core.driver.gauges.time.monotonic", lambda: now)
    recorder = recorded(tmp_path)
    gauges = Gauges(SWEEP, tmp_path, recorder, REMAINING, print, period_s=3600)
    with gauges:
        running = next(t.trial_id for t in recorder.trials() if t.status == "RUNNING")
        for _ in range(8):
            recorder.progressed(running, HEARTBEAT)
        now += 4.0
        seen = {(s.name, s.tags.get("status", "")): s.value for s in gauges.samples()}
        now += 4.0
        later = {s.name: s.value for s in gauges.samples()}
    assert {name for name, _ in seen} == GAUGES.keys()
    counts = {status: seen["flowpwm_trials", status.lower()] for status in STATUSES}
    assert {k: v for k, v in counts.items() if v} == {"COMPLETED": 1, "FAILED": 1, "RUNNING": 1}
    assert seen["flowpwm_best_score", ""] == 30.0
    assert seen["flowpwm_reports_per_second", ""] == 2.0
    assert later["flowpwm_reports_per_second"] == 0.0
    assert seen["flowpwm_gpu_hours", ""] == 1.5  # three hours of half a GPU
    left = REMAINING.seconds(recorder.trials())
    assert left is not None and seen["flowpwm_remaining_seconds", ""] == left.est > 0
    resident = psutil.Process().memory_info().rss
    assert seen["flowpwm_driver_resident_bytes", ""] == pytest.approx(resident, rel=0.2)
    free = shutil.disk_usage(tmp_path).free
    assert seen["flowpwm_disk_free_bytes", ""] == pytest.approx(free, rel=0.1)


def test_gauges_that_fail_are_told_of_once_and_the_sweep_goes_on(tmp_path: Path) -> None:
    recorder = recorded(tmp_path)
    said: list[str] = []
    gone = tmp_path / "gone"
    with Gauges(SWEEP, gone, recorder, REMAINING, said.append, period_s=0.01) as gauges:
        gauges._thread.join(10)
        running = next(t.trial_id for t in recorder.trials() if t.status == "RUNNING")
        recorder.progressed(running, HEARTBEAT | {"score": 26.0})
    assert len(said) == 1 and said[0].startswith("WARN no more metrics for Prometheus: ")
    assert recorder.state.trials[running].score == 26.0


@pytest.fixture
def driver(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    ray_folder = Path(tempfile.mkdtemp(prefix="fp"))
    settings = {"RAY_TMPDIR": str(ray_folder), "RAY_metrics_report_interval_ms": "1000"}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.sweeps.driver.exporting_driver", str(tmp_path / "r1")],
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        text=True,
    )
    yield process
    members = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait(10)
    end_processes(members, patience_s=10)
    shutil.rmtree(ray_folder, ignore_errors=True)


def scrape(url: str) -> Seen:
    with urllib.request.urlopen(url, timeout=20) as answer:
        text = answer.read().decode()
    found: Seen = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name.removeprefix("ray_") in GAUGES:
                assert (sample.labels["sweep"], sample.labels["run"]) == (SWEEP, "r1")
                status = sample.labels.get("status", "")
                found[sample.name.removeprefix("ray_"), status] = sample.value
    return found


@pytest.mark.slow
def test_prometheus_finds_every_gauge_at_ray_s_own_exporter(
    driver: subprocess.Popen[str],
) -> None:
    assert driver.stdout is not None
    url = driver.stdout.readline().strip()
    assert url.startswith("http://127.0.0.1:"), url
    deadline = time.monotonic() + 200
    seen: Seen = {}
    while {name for name, _ in seen} != GAUGES.keys():
        assert driver.poll() is None
        assert time.monotonic() < deadline, seen
        time.sleep(0.5)
        seen = scrape(url)
    assert [seen["flowpwm_trials", s] for s in ("completed", "failed", "running")] == [1, 1, 1]
    assert seen["flowpwm_trials", "pending"] == 0
    assert (seen["flowpwm_best_score", ""], seen["flowpwm_gpu_hours", ""]) == (30.0, 1.5)
    assert 0 < seen["flowpwm_reports_per_second", ""] <= 20
    assert seen["flowpwm_remaining_seconds", ""] > 0
    resident = psutil.Process(driver.pid).memory_info().rss
    assert seen["flowpwm_driver_resident_bytes", ""] == pytest.approx(resident, rel=0.3)
    assert seen["flowpwm_disk_free_bytes", ""] > 0
