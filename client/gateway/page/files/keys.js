// A key with its owners, versions and siblings; and the keys with the most requests.

import { at, count, el, put } from "./dom.js";

export function drawKey(found, item) {
  const owners = el("table", {}, el("thead", {}, el("tr", {}, ["Owner", "State", "Dots", "Copy"].map((name) => el("th", {}, name)))),
    el("tbody", {}, found.owners.map((owner) => el("tr", {}, el("th", { scope: "row" }, owner.node),
      el("td", {}, el("span", { class: `state state-${owner.state}` }, owner.state)),
      el("td", { class: "mono" }, (owner.dots ?? []).join(" ") || "–"),
      el("td", {}, !owner.answered ? "no answer" : owner.same ? "the same" : "differs")))));
  const siblings = item?.siblings ?? [], values = item === null ? el("p", {}, "It has no value.")
    : el("ol", {}, (siblings.length ? siblings : [item]).map((one) => el("li", {}, el("code", {}, shown(one)))));
  put(at("key-told"), el("p", {}, `Partition ${found.partition}, epoch ${found.epoch}. ${siblings.length > 1 ? `${siblings.length} siblings:` : ""}`),
    values, el("div", { class: "scrolled" }, owners),
    found.fallbacks.length ? el("p", { class: "quiet" }, `Then ${found.fallbacks.join(", ")}.`) : null);
}

function shown(one) {
  const text = typeof one === "string" ? one : one.value ?? `base64 ${one.value_b64}`;
  return text.length > 2000 ? `${text.slice(0, 2000)}…` : text;
}

export function drawHot(told) {
  const hot = told && told.filter((each) => each.reads_s + each.writes_s >= 0.5);
  if (!hot?.length) { put(at("hot"), el("p", { class: "quiet" }, told === null ? "Not told to this token." : "No key has noticeably more requests than others.")); return; }
  put(at("hot"), el("div", { class: "scrolled" }, el("table", {}, el("thead", {}, el("tr", {}, el("th", {}, "Key"), el("th", { class: "n" }, "Reads/s"), el("th", { class: "n" }, "Writes/s"), el("th", {}, "Owners"))),
    el("tbody", {}, hot.map((each) => el("tr", {}, el("td", { class: "mono" }, each.key), el("td", { class: "n" }, count(each.reads_s)), el("td", { class: "n" }, count(each.writes_s)), el("td", {}, each.owners.join(" "))))))));
}
