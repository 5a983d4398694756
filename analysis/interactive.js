"use strict";
// Selection is one array of booleans, one a trial; every part of the page shows it and may change it.
const data = JSON.parse(document.getElementById("data").textContent);
const parallel = document.getElementById("parallel");
const curves = document.getElementById("curves");
const table = document.getElementById("rows");
const quiet = { responsive: true, displaylogo: false };
const scores = data.dimensions[data.dimensions.length - 1].values;

function within(dimension, value) {
  const given = dimension.constraintrange;
  if (!given || !given.length) return true;
  const ranges = Array.isArray(given[0]) ? given : [given];
  // The ends of a brush are rounded: what it was drawn up to belongs to it.
  const blur = 1e-6 * (dimension.range[1] - dimension.range[0]);
  return ranges.some(([low, high]) => value >= low - blur && value <= high + blur);
}

function chosen() {
  const dimensions = parallel.data[0].dimensions;
  return data.trials.map((_, i) => dimensions.every((d) => within(d, data.dimensions[d._at].values[i])));
}

function show(selected) {
  const several = selected.some((yes) => !yes);
  Plotly.restyle(curves, {
    opacity: selected.map((yes) => (yes ? 0.9 : 0.06)),
    "line.width": selected.map((yes) => (yes && several ? 2 : 1)),
  });
  [...table.tBodies[0].rows].forEach((row, i) => {
    row.hidden = !selected[i];
  });
  const n = selected.filter(Boolean).length;
  const kept = scores.filter((_, i) => selected[i]).sort((a, b) => a - b);
  const middle = kept.length ? `, median final ${kept[kept.length >> 1].toPrecision(4)}` : "";
  document.getElementById("told").textContent = `${n} of ${selected.length} trials selected${middle}`;
}

// One trial is selected through the axes, so that it can be widened from there.
function pick(index) {
  const update = {};
  data.dimensions.forEach((d, at) => {
    const span = (d.range[1] - d.range[0] || 1) * 1e-3;
    const value = d.values[index];
    update[`dimensions[${at}].constraintrange`] = [[value - span, value + span]];
  });
  Plotly.restyle(parallel, update);
}

function free() {
  const update = {};
  data.dimensions.forEach((_, at) => {
    update[`dimensions[${at}].constraintrange`] = [null];
  });
  Plotly.restyle(parallel, update);
}

function fill() {
  const head = table.createTHead().insertRow();
  data.heads.forEach((name) => {
    head.appendChild(document.createElement("th")).textContent = name;
  });
  const body = table.createTBody();
  data.words.forEach((words, i) => {
    const row = body.insertRow();
    words.forEach((word) => {
      row.insertCell().textContent = word;
    });
    row.addEventListener("click", () => pick(i));
  });
}

fill();
const seen = new Set();
const first = (name) => !seen.has(name) && !!seen.add(name);
Promise.all([
  Plotly.newPlot(
    parallel,
    [
      {
        type: "parcoords",
        dimensions: data.dimensions.map((d, at) => ({ ...d, _at: at })),
        line: { color: scores, colorscale: "Cividis", showscale: true },
      },
    ],
    { height: 380, margin: { l: 110, r: 40, t: 60, b: 20 } },
    quiet,
  ),
  Plotly.newPlot(
    curves,
    data.curves.map((c, i) => ({
      x: c.x,
      y: c.y,
      name: c.arm,
      legendgroup: c.arm,
      showlegend: first(c.arm),
      text: data.words[i].slice(0, 6).join(" "),
      hovertemplate: "%{text}<br>%{x}: %{y:.4g}<extra></extra>",
      mode: "lines",
      type: "scattergl",
      line: { color: c.colour, width: 1 },
    })),
    {
      height: 420,
      margin: { l: 60, r: 20, t: 20, b: 45 },
      xaxis: { title: { text: data.axis } },
      yaxis: { title: { text: data.score } },
      hovermode: "closest",
    },
    quiet,
  ),
]).then(() => {
  parallel.on("plotly_restyle", () => show(chosen()));
  curves.on("plotly_click", (event) => pick(event.points[0].curveNumber));
  document.getElementById("all").addEventListener("click", free);
  show(data.trials.map(() => true));
});
