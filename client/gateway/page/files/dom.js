// Small helpers: elements, numbers and times in words.

const SVG = "http://www.w3.org/2000/svg";

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const el = (name, attributes = {}, ...children) => filled(document.createElement(name), attributes, children);
export const svg = (name, attributes = {}, ...children) => filled(document.createElementNS(SVG, name), attributes, children);
export const at = (id) => document.getElementById(id);

// Replaces children only if they would look different, so that focus and selection stay.
export function put(place, ...children) {
  const fresh = el("div", {}, ...children);
  if (fresh.innerHTML !== place.innerHTML) place.replaceChildren(...fresh.childNodes);
}

export const colour = (index) => `var(--c${index % 8})`;

export function swatch(index) {
  const box = el("span", { class: "swatch", "aria-hidden": "true" });
  box.style.background = colour(index);
  return box;
}

export function count(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString("en", { maximumFractionDigits: !Number.isInteger(value) && value < 10 ? 1 : 0 });
}

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (value < 1024) return `${value.toFixed(unit === "B" || value >= 100 ? 0 : 1)} ${unit}`;
    value /= 1024;
  }
  return `${value.toFixed(1)} TiB`;
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.001) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (seconds < 1) return `${(seconds * 1e3).toFixed(seconds < 0.1 ? 1 : 0)} ms`;
  if (seconds < 120) return `${seconds.toFixed(seconds < 10 ? 1 : 0)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

// How far back a picture reaches: to the first thing that is known, within one to five minutes.
export const reach = (now, first_s) => Math.min(300, Math.max(60, now - first_s));
export const ago = (seconds) => (seconds >= 300 ? "5 minutes ago" : `${seconds.toFixed(0)} s ago`);
export const widthOf = (place) => Math.max(280, place.clientWidth || 0);

export const clock = (at_s) => new Date(at_s * 1000).toLocaleTimeString("en", { hour12: false });
