// A bar a node over the last minutes, and the list of what happened.

import { ago, at, clock, el, put, reach, svg, widthOf } from "./dom.js";

const ROW = 22, LEFT = 60;
const FILL = { up: "var(--good)", slow: "var(--warn)", suspect: "var(--warn)", down: "var(--bad)", gone: "var(--line)" };

function pieces(events, node, now, window) {
  const changes = events.filter((event) => event.kind === "state" && event.node === node);
  return changes.map((event, index) => ({ state: event.value, from: event.at_s, to: changes[index + 1]?.at_s ?? now }))
    .filter((piece) => piece.to >= now - window);
}

export function drawTimeline(events, live) {
  const now = live?.at_s ?? 0, nodes = [...new Set(events.filter((event) => event.kind === "state").map((event) => event.node))];
  const width = widthOf(at("bars")), window = reach(now, events[0]?.at_s ?? now);
  const place = (at_s) => LEFT + (width - LEFT) * Math.max(0, 1 - (now - at_s) / window);
  const rows = nodes.flatMap((node, index) => {
    const y = index * ROW + 4;
    const bars = pieces(events, node, now, window).map((piece) => {
      const x = place(piece.from), bar = svg("rect", {
        x, y, width: Math.max(2, place(piece.to) - x), height: ROW - 8, rx: 2, fill: FILL[piece.state] ?? "var(--quiet)",
        opacity: piece.state === "up" ? 0.55 : 1,
      });
      bar.append(svg("title", {}, `${node} ${piece.state} from ${clock(piece.from)} to ${clock(piece.to)}`));
      return bar;
    });
    const marks = events.filter((event) => event.node === node && event.kind !== "state" && event.at_s > now - window).map((event) => {
      const mark = svg("path", { d: `M${place(event.at_s).toFixed(1)} ${y - 3}v${ROW - 2}`, stroke: "var(--ink)", "stroke-width": 2 });
      mark.append(svg("title", {}, `${clock(event.at_s)} ${event.text}`));
      return mark;
    });
    return [svg("text", { x: 0, y: y + 12 }, node), ...bars, ...marks];
  });
  put(at("bars"), svg("svg", {
    viewBox: `0 0 ${width} ${nodes.length * ROW + 18}`, role: "img",
    "aria-label": `State of ${nodes.length} nodes over the last minutes; the events are listed below`,
  }, rows, svg("text", { x: LEFT, y: nodes.length * ROW + 14, class: "faint" }, ago(window)),
  svg("text", { x: width, y: nodes.length * ROW + 14, "text-anchor": "end", class: "faint" }, "now")));
  put(at("events"), events.slice(-100).reverse().map((event) => el("li", {}, el("time", {}, clock(event.at_s)), el("span", {}, event.text))));
}
