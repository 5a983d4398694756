"""The report: what it says, that it stands alone, and that hostile text stays text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import pytest

import analysis
from analysis.checks import warnings_of
from analysis.figures import FIGURES, View
from analysis.figures.style import svg

VOID = {"meta", "br", "hr", "img", "link", "input"}


class Balance(HTMLParser):
    """Collects tags and ids, and whether every tag is closed in order."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, tag


def parse(html: str) -> Balance:
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@pytest.fixture(scope="module")
def html(tuned_folder, tmp_path_factory) -> str:
    out = tmp_path_factory.mktemp("report") / "report.html"
    return analysis.report(analysis.load(tuned_folder), out).read_text()


def test_the_report_lies_in_the_sweeps_folder_or_where_asked(tuned, tmp_path):
    frames = tuned.frames()
    assert analysis.report(frames) == frames.path / "report.html"
    assert analysis.report(frames, tmp_path / "x.html").exists()
    assert not list(frames.path.glob(".*.tmp"))


def test_it_is_one_page_without_script_or_network_that_fits_a_phone(html):
    page = parse(html)
    assert not page.tags & {"script", "link", "iframe", "img", "object", "embed", "form"}
    for tag, name, value in page.attributes:
        assert not name.startswith("on"), (tag, name)
        if name in ("src", "href", "xlink:href", "action"):
            # A table to download is held by its link.
            assert value and value.startswith(("#", "data:text/csv;base64,")), (tag, name, value)
    assert 'name="viewport" content="width=device-width' in html
    assert "default-src 'none'" in html
    assert "@import" not in html and "@font-face" not in html
    assert len(html) < 1_500_000


def test_ids_of_the_figures_do_not_clash(html):
    page = parse(html)
    assert len(page.ids) == len(set(page.ids))
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', html))
    assert used and used <= set(page.ids)


def test_hostile_text_stays_text(html):
    assert "<script" not in html
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in html


def test_the_verdict_box_is_one_sentence_with_n_interval_and_method(html):
    box = re.search(r'<div class="verdict[^"]*"><p>(.*?)</p>', html)
    assert box
    assert re.search(r"95% interval \[.*\], n=10 seeds, Welch t; IQM .* bootstrap\)", box[1])


def test_every_section_is_there(html):
    headings = re.findall(r"<h2>(.*?)</h2>", html)
    assert headings == [
        "Warnings",
        "Comparison",
        "Learning curves",
        "Learning curves over hours",
        "Stability",
        "Arms",
        "Cost",
        "Screening score by hyperparameter",
        "Integrator and substeps",
        "Parallel coordinates",
        "Best so far",
        "Screening runs",
        "Screening and selection",
        "Memory and throughput",
        "Failures",
        "Timeline",
        "How it was tuned",
        "Configurations",
        "Versions and hardware",
        "Downloads",
    ]
    for text in ("oom_host", "logs/cbad00000-s1-2.log", "1a2b3c4", "10 of 200", "biased"):
        assert text in html


def test_every_seed_stands_in_the_table(html):
    for seed in range(1000, 1010):
        assert f">{seed}</th>" in html


def test_the_warnings_name_collapse_failures_and_the_winners_curse(tuned):
    frames = tuned.frames()
    lines = warnings_of(frames, analysis.compare(frames))
    assert [line.split(":")[0] for line in lines] == ["Failed", "Collapsed", "Winner's curse"]
    assert "1 of 33 trials (oom_host 1)" in lines[0]
    assert "1 of 10 seeds of flow" in lines[1]
    assert "best of 8 screened" in lines[2] and "on fresh seeds flow scores" in lines[2]


def test_the_warnings_name_few_seeds_unequal_budgets_protocols_and_missing_ones(new_sweep):
    sweep = new_sweep()
    rising = [40.0 * i for i in range(1, 21)]
    for seed in range(3):
        sweep.trial("mlp", seed, rising, protocol="k10")
        sweep.trial("flow", seed, [500.0] * 10)
    sweep.trial("flow", 3, [1.0], status="running", epochs=100)
    sweep.trial("flow", 4, [1.0, float("nan")])
    frames = sweep.frames(finish=False)
    text = "\n".join(warnings_of(frames, analysis.compare(frames)))
    assert "Few seeds: with n=3" in text
    assert "Unequal budgets on cheetah-run: flow" in text and "at=" in text
    assert "Unequal evaluation on cheetah-run: 2 protocols" in text
    assert "Missing: 1 of 5 seeds of flow on cheetah-run" in text and "running; seeds 3" in text
    # The mean of the last five rises from 560 after 16 evaluations to 720 after 20.
    assert "Still improving in the last fifth of the budget: mlp on cheetah-run by 160.0" in text
    assert "Diverged: 1 of 5 seeds of flow" in text


def test_phase_3_warns_that_cheetah_is_not_learned(phase3):
    html = analysis.report(phase3.frames()).read_text()
    assert "Not learned: on cheetah-run both flow (98.7) and mlp (112.5)" in html
    assert "Screening" not in html and "Failures" not in html
    parse(html)


def test_the_exact_difference_between_the_arms_is_listed(tuned):
    table = analysis.differences(analysis.config_frame(tuned.frames()))
    assert table.set_index("key").to_dict("index") == {
        "world_model.integrator": {"flow": "heun", "mlp": "–"},
        "world_model.kind": {"flow": "flow", "mlp": "mlp"},
        "world_model.substeps": {"flow": "8", "mlp": "–"},
    }


def test_a_running_sweep_has_a_report(new_sweep):
    sweep = new_sweep()
    sweep.trial("flow", 0, [1.0, 2.0], stage="screen", status="running", epochs=100)
    sweep.trial("flow", 1000, [], status="planned", epochs=100)
    sweep.trial("mlp", 1000, [3.0], status="running", epochs=100)
    html = analysis.report(sweep.frames(finish=False)).read_text()
    parse(html)
    assert "not finished; 3 trials: 0 done, 2 running, 1 waiting" in html


def test_one_seed_is_reported_without_uncertainty(new_sweep):
    sweep = new_sweep()
    for arm in ("flow", "mlp"):
        sweep.trial(arm, 1000, [5.0, 6.0])
    html = analysis.report(sweep.frames()).read_text()
    assert "n=1: no uncertainty" in html


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_draws_the_same_svg_twice_for_every_panel(tuned, name):
    frames = tuned.frames()
    view = View(frames, analysis.compare(frames))
    # What this sweep has nothing of is drawn in test_analysis_figures.
    for panel in FIGURES[name].panels(view):
        first = svg(FIGURES[name].draw(view, panel), "a")
        assert first == svg(FIGURES[name].draw(view, panel), "a")
        root = ET.fromstring(first)
        assert root.tag.endswith("svg") and "viewBox" in root.attrib
        assert "width" not in root.attrib  # the page sets it


def test_figures_leave_nothing_behind_in_pyplot(tuned):
    import matplotlib.pyplot as plt

    analysis.report(tuned.frames())
    assert plt.get_fignums() == []


def test_a_damaged_environment_file_does_not_cost_the_report(phase3):
    (phase3.path / "environment.json").write_text("{")
    assert "environment.json: " in analysis.report(phase3.frames()).read_text()


def test_many_parameter_values_and_mixed_types_are_drawn(new_sweep):
    sweep = new_sweep()
    for i in range(12):
        params = {"lr": 10.0 ** (-i / 3), "units": 64 * (i % 2 + 1), "tied": i % 2 == 0, "one": 1}
        sweep.trial("flow", i, [float(i)], stage="screen", config_id=f"c{i}", params=params)
    frames = sweep.frames()
    view = View(frames, analysis.compare(frames))
    assert FIGURES["parameters"].panels(view) == ["lr", "tied", "units"]
    figure = FIGURES["parameters"].draw(view, "lr")
    assert figure.axes[0].get_xscale() == "log"
    labels = [
        t.get_text() for t in FIGURES["parameters"].draw(view, "tied").axes[0].get_xticklabels()
    ]
    assert labels == ["False", "True"]
