"""The report and the interactive page in a real browser."""

from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, needs_chromium, opened

import analysis
from tests.analysis.conftest import Factory, Finished

pytestmark = [needs_chromium, pytest.mark.slow]


@pytest.fixture
def explored(new_sweep: Factory) -> Path:
    """An interactive page of eight screened trials, some of which name hostile text."""
    folder = new_sweep(spec={"baseline": "mlp", "kind": "tune"})
    for number in range(8):
        substeps, integrator = (1, 2, 4, 8)[number % 4], ("euler", "heun")[number // 4]
        params = {"world_model.substeps": substeps, "world_model.integrator": integrator}
        top = 100.0 * (number + 1)
        curve = top * (1 - np.exp(-np.arange(1, 11) / 3))
        task = "</script><b>task</b>" if number == 3 else "cheetah-run"
        folder.trial(
            "flow", 0, curve, stage="screen", config_id=f"c{number}", params=params, task=task
        )
    return analysis.interactive(folder.frames())


def test_one_selection_is_seen_in_every_part_of_the_interactive_page(explored: Path) -> None:
    with opened(explored) as page:
        told, rows = page.locator("#told"), page.locator("#rows tbody tr:visible")
        told.get_by_text("8 of 8 trials").wait_for()
        assert rows.count() == 8 and page.locator("#rows b").count() == 0
        page.locator("#rows tbody tr").nth(5).click()
        told.get_by_text("1 of 8 trials").wait_for()
        assert rows.count() == 1 and "c5-s0" in rows.inner_text()
        opacities = page.evaluate("document.getElementById('curves').data.map(d => d.opacity)")
        assert [i for i, o in enumerate(opacities) if o > 0.5] == [5]
        page.locator("#all").click()
        told.get_by_text("8 of 8 trials").wait_for()
        assert rows.count() == 8


def test_dragging_along_an_axis_selects_the_trials_there(explored: Path) -> None:
    with opened(explored) as page:
        page.locator("#told").get_by_text("8 of 8 trials").wait_for()
        axes = page.locator("#parallel .axis-brush .background")
        box = axes.last.bounding_box()  # of the final score
        assert box is not None
        middle = box["x"] + box["width"] / 2
        page.mouse.move(middle, box["y"] + box["height"] * 0.3)
        page.mouse.down()
        page.mouse.move(middle, box["y"] - 5, steps=5)
        page.mouse.up()
        page.locator("#told").get_by_text("of 8 trials selected", exact=False).wait_for()
        page.wait_for_function("!document.getElementById('told').textContent.startsWith('8')")
        shown = page.locator("#rows tbody tr:visible").all_inner_texts()
        assert 0 < len(shown) < 8 and any("c7-s0" in text for text in shown)
        assert not any("c0-s0" in text for text in shown)


def test_clicking_a_curve_selects_its_trial(explored: Path) -> None:
    with opened(explored) as page:
        page.locator("#told").get_by_text("8 of 8 trials").wait_for()
        at = page.evaluate(
            """() => {
              const plot = document.getElementById("curves"), layout = plot._fullLayout;
              const box = plot.getBoundingClientRect(), curve = plot.data[7];
              return [box.left + layout.xaxis.l2p(curve.x[8]) + layout.xaxis._offset,
                      box.top + layout.yaxis.l2p(curve.y[8]) + layout.yaxis._offset];
            }"""
        )
        page.mouse.move(*at)
        page.wait_for_timeout(200)
        page.mouse.click(*at)
        page.locator("#told").get_by_text("1 of 8 trials").wait_for()
        assert "c7-s0" in page.locator("#rows tbody tr:visible").inner_text()


@pytest.mark.parametrize("size", [PHONE, DESKTOP])
def test_the_report_fits_its_window_without_script(tuned: Finished, size: tuple[int, int]) -> None:
    path = analysis.report(tuned.frames())
    with opened(path, size, script=False) as page:
        text = page.locator("main").inner_text()
        for part in ("Comparison", "Learning curves", "Failures", "How it was tuned", "Downloads"):
            assert part in text
        box = page.locator("main").bounding_box()
        assert box is not None and box["width"] <= size[0]
        for figure in page.locator("figure svg").all():
            found = figure.bounding_box()
            assert found is not None and 0 < found["width"] <= size[0]


def test_the_report_never_scrolls_sideways_on_a_phone(tuned: Finished) -> None:
    with opened(analysis.report(tuned.frames()), PHONE) as page:
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= PHONE[0]


def test_a_table_of_the_report_is_saved_as_a_file(tuned: Finished, tmp_path: Path) -> None:
    with opened(analysis.report(tuned.frames()), PHONE) as page:
        with page.expect_download() as started:
            page.locator("a[download='comparison.csv']").click()
        started.value.save_as(tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().startswith("task,")
