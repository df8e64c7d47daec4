// Lines over the last minutes: requests a second, latency, work of each node, hints that wait.

import { ago, at, colour, count, el, put, reach, span, svg } from "./dom.js";

const WIDTH = 360, HEIGHT = 120;

function line(samples, value, now, window, top, stroke, title) {
  let path = "", before = null;
  for (const sample of samples) {
    const amount = value(sample);
    if (amount === null || amount === undefined) { before = null; continue; }
    const x = WIDTH * (1 - (now - sample.at_s) / window), y = HEIGHT - 2 - (HEIGHT - 14) * (amount / top);
    const gap = before === null || sample.at_s - before > 10;
    path += `${gap ? "M" : "L"}${x.toFixed(1)} ${y.toFixed(1)}`;
    before = sample.at_s;
  }
  const shape = svg("path", { d: path || "M0 0", fill: "none", stroke, "stroke-width": 2, "stroke-linejoin": "round" });
  shape.append(svg("title", {}, title));
  return shape;
}

function chart(title, samples, lines, words) {
  const now = samples.at(-1)?.at_s ?? 0, window = reach(now, samples[0]?.at_s ?? now), shown = samples.filter((sample) => now - sample.at_s <= window);
  const amounts = lines.flatMap(({ value }) => shown.map(value)).filter((amount) => amount > 0);
  if (!shown.length) return null;
  const top = Math.max(...amounts, 1e-9) * 1.1, last = lines.map(({ value, name }) => [name, value(shown.at(-1))]);
  const told = last.map(([name, amount]) => (name ? `${name} ${words(amount)}` : words(amount))).join("  ");
  const axis = svg("path", { class: "axis", d: `M0 ${HEIGHT - 1}H${WIDTH}M0 12H${WIDTH}` });
  return el("figure", {}, el("figcaption", {}, title, el("b", {}, told)),
    svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `${title}: ${told}` }, axis,
      lines.map(({ value, stroke, name }) => line(shown, value, now, window, top, stroke, name || title)),
      svg("text", { x: 2, y: 10, class: "faint" }, amounts.length ? words(top / 1.1) : ""),
      svg("text", { x: WIDTH - 2, y: 10, "text-anchor": "end", class: "faint" }, `from ${ago(window)}`)));
}

const of = (sample, sort, name) => (sample.pace?.[sort][name] ? sample.pace[sort][name] / 1000 : null);

export function drawCharts(samples, ring) {
  const nodes = ring?.nodes ?? [];
  const per = nodes.map((name, index) => ({ name: nodes.length > 5 ? "" : name, stroke: colour(index), value: (sample) => sample.work?.[name] }));
  const latency = (sort) => (samples.some((sample) => sample.pace?.[sort].p50_ms) ? chart(`latency of ${sort}`, samples, [
    { name: "p50", stroke: colour(2), value: (sample) => of(sample, sort, "p50_ms") },
    { name: "p99", stroke: colour(1), value: (sample) => of(sample, sort, "p99_ms") }], span) : null);
  put(at("charts"),
    chart("requests a second", samples, [{ name: "", stroke: colour(0), value: (sample) => sample.requests_s }], (amount) => count(amount)),
    latency("reads"), latency("writes"),
    chart("work of nodes a second", samples, per, (amount) => count(amount)),
    chart("hints that wait", samples, [{ name: "", stroke: colour(4), value: (sample) => sample.hints }], (amount) => count(amount)));
}
