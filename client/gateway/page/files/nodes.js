// The header's verdict, and the table of nodes.

import { at, bytes, count, el, put, span, swatch } from "./dom.js";

const HEALTH = { ok: "healthy", degraded: "degraded", unavailable: "unavailable", lost: "no answer" };

// With `trouble`, why nobody answers, all else is how it was before; `live` is null if nobody has answered yet.
export function drawHealth(live, trouble) {
  const state = trouble === null ? live.health : "lost", told = HEALTH[state] ?? state;
  document.title = [told, live?.cluster, "Ringmill"].filter(Boolean).join(" · ");
  const health = at("health");
  if (health.textContent !== told) health.textContent = told;
  health.dataset.health = state;
  put(at("reasons"), (trouble === null ? live.reasons : [trouble]).map((reason) => el("li", {}, reason)));
  if (!live) return;
  at("cluster").textContent = live.cluster;
  const up = live.nodes.filter((node) => node.state === "up" || node.state === "slow").length;
  const facts = {
    nodes: `${up} of ${live.nodes.length} up`, epoch: live.epoch, "job coordinator": live.coordinator || "none",
    "partitions without quorum": live.ranges.no_quorum, "requests/s": count(live.requests_s),
  };
  put(at("facts"), Object.entries(facts).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, String(value)))));
}

function doing(node) {
  const told = [];
  if (node.membership !== "up") told.push(node.membership);
  if (node.healing) told.push(`heals ${node.healing}`);
  if (node.damaged_ranges) told.push(`${node.damaged_ranges} damaged ranges`);
  if (node.unfilled) told.push(`${count(node.unfilled)} partitions to be filled`);
  if (node.hints) told.push(`holds ${count(node.hints)} hints`);
  return told.join(", ") || (node.uptime_s === null ? "" : `up ${span(node.uptime_s)}`);
}

export function drawNodes(live, ring) {
  const place = new Map((ring?.nodes ?? []).map((name, index) => [name, index]));
  put(at("node-rows"), live.nodes.map((node) => el("tr", {},
    el("th", { scope: "row" }, swatch(place.get(node.id) ?? 0), node.id, node.zone && node.zone !== "default" ? ` (${node.zone})` : ""),
    el("td", {}, el("span", { class: `state state-${node.state}` }, node.state)),
    el("td", { class: "n" }, count(node.owns)), el("td", { class: "n" }, count(node.keys)),
    el("td", { class: "n" }, bytes(node.bytes)), el("td", { class: "n" }, count(node.work_s)),
    el("td", { class: "n" }, count(node.awaited_hints)), el("td", {}, doing(node)))));
}
