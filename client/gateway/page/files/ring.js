// The ring: a band for the first, second and third owner of each partition, coloured by node.

import { at, colour, el, put, svg, swatch } from "./dom.js";

const SIZE = 400, MIDDLE = SIZE / 2, OUTER = 178, BAND = 26, GAP = 4;

function arc(radius, from, to, attributes) {
  const whole = to - from >= 1 - 1e-9, end = whole ? to - 1e-4 : to;
  const point = (turn) => {
    const angle = turn * 2 * Math.PI - Math.PI / 2;
    return `${(MIDDLE + radius * Math.cos(angle)).toFixed(2)} ${(MIDDLE + radius * Math.sin(angle)).toFixed(2)}`;
  };
  const path = `M${point(from)}A${radius} ${radius} 0 ${end - from > 0.5 ? 1 : 0} 1 ${point(end)}`;
  return svg("path", { d: path, fill: "none", ...attributes });
}

// Neighbours with the same owner are one arc, so that 4,096 partitions are no 12,288 elements.
function runs(rows, place) {
  const found = [];
  rows.forEach((row, index) => {
    const owner = row[place], last = found.at(-1);
    if (owner === undefined) return;
    if (last && last.owner === owner && last.to === index) last.to = index + 1;
    else found.push({ owner, from: index, to: index + 1 });
  });
  return found;
}

export function drawRing(ring, live) {
  const states = Object.fromEntries((live?.nodes ?? []).map((node) => [node.id, node.state]));
  const total = ring.rows.length, owners = Math.max(0, ...ring.rows.map((row) => row.length));
  const bands = [];
  for (let place = 0; place < Math.min(owners, 5); place += 1) {
    const radius = OUTER - place * (BAND + GAP);
    for (const { owner, from, to } of runs(ring.rows, place)) {
      const name = ring.nodes[owner], away = ["down", "suspect"].includes(states[name]);
      const told = `${name}${away ? ", " + states[name] : ""}: owner ${place + 1} of partitions ${from} to ${to - 1}`;
      bands.push(filledArc(radius, from / total, to / total, owner, away, told));
    }
  }
  const joining = Object.entries(ring.joining).flatMap(([index, nodes]) => nodes.map((node) =>
    arc(OUTER + 18, index / total, (Number(index) + 1) / total, {
      stroke: colour(node), "stroke-width": 6, class: "moving",
    })));
  const picture = svg("svg", { viewBox: `0 0 ${SIZE} ${SIZE}`, role: "img", "aria-label": words(ring, states) },
    ...bands, ...joining,
    svg("text", { x: MIDDLE, y: MIDDLE - 4, "text-anchor": "middle" }, `${total} partitions`),
    svg("text", { x: MIDDLE, y: MIDDLE + 14, "text-anchor": "middle", class: "faint" }, `epoch ${ring.epoch}`));
  const legend = el("ul", { class: "legend" }, ring.nodes.map((name, index) => el("li", {}, swatch(index), name,
    states[name] && states[name] !== "up" ? ` (${states[name]})` : "")));
  put(at("ring-picture"), picture, legend);
  const moves = live?.moves;
  at("ring-told").textContent = moves && (moves.left || moves.joining.length)
    ? `${moves.left} copies are still to change hands${moves.is_paused ? ", paused" : ""}`
    : "Bands from outside: first, second and third owner. A faint arc is of a node that does not answer.";
}

function filledArc(radius, from, to, owner, away, told) {
  const shape = arc(radius, from, to, { stroke: colour(owner), "stroke-width": BAND, opacity: away ? 0.22 : 1 });
  shape.append(svg("title", {}, told));
  return shape;
}

function words(ring, states) {
  const share = ring.nodes.map((name, index) => {
    const owned = ring.rows.filter((row) => row[0] === index).length;
    return `${name} (${states[name] ?? "?"}) is first owner of ${owned}`;
  });
  return `Ring of ${ring.rows.length} partitions: ${share.join(", ")}`;
}
