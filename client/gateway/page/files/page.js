// The live page: reads the stream of the gateway, keeps what it told, and draws it.

import { at, el, put } from "./dom.js";
import { drawCharts } from "./charts.js";
import { drawJob, drawJobs } from "./jobs.js";
import { drawHot, drawKey } from "./keys.js";
import { drawHealth, drawNodes } from "./nodes.js";
import { drawRing } from "./ring.js";
import { drawTimeline } from "./timeline.js";

const KEPT_SAMPLES = 300, KEPT_EVENTS = 500, AGAIN_MS = 1000;
const QUIET_MS = 6000, LOST_MS = 12000;  // the gateway gives a sign of life every two seconds
const seen = { ring: null, live: null, trouble: null, samples: [], events: [], job: null };
let token = sessionStorage.getItem("ringmill-token") ?? "";

const asked = () => (token ? { Authorization: `Bearer ${token}` } : {});

function draw() {
  const { ring, live, trouble } = seen;
  if (ring) drawRing(ring, live);
  if (live || trouble !== null) drawHealth(live, trouble);
  if (!live) return;
  drawNodes(live, ring);
  drawCharts(seen.samples, ring);
  drawTimeline(seen.events, live);
  drawHot(live.hot);
  seen.job ??= live.jobs?.[0]?.job ?? null;
  drawJobs(live.jobs, seen.job, choose);
}

// The newest events, and before them the last older state of each node, where its bar begins.
function cut(events) {
  const before = new Map(), newest = Math.max(0, events.length - KEPT_EVENTS);
  for (const event of events.slice(0, newest)) {
    if (event.kind !== "state") continue;
    before.delete(event.node);
    if (event.value !== "gone") before.set(event.node, event);
  }
  return [...before.values(), ...events.slice(newest)];
}

const told = {
  history: ({ samples, events }) => { seen.samples = samples; seen.events = events; },
  ring: (ring) => { seen.ring = ring; },
  events: (events) => { seen.events = cut([...seen.events, ...events]); },
  live: (live) => {
    seen.live = live;
    seen.trouble = null;
    const work = Object.fromEntries(live.nodes.map((node) => [node.id, node.work_s]));
    const hints = live.nodes.reduce((sum, node) => sum + (node.hints ?? 0), 0);
    seen.samples = [...seen.samples, { at_s: live.at_s, requests_s: live.requests_s, hints, work, pace: live.pace }].slice(-KEPT_SAMPLES);
    at("token-form").hidden = live.jobs !== null;
    lookAtJob();
  },
  trouble: ({ message }) => { seen.trouble = message; },
};

// What a line of an event has behind this name.  Only "\n" ends a line, whatever else JSON may hold.
const field = (event, name) => event.split("\n").find((line) => line.startsWith(name))?.slice(name.length);

// Tells of a stream on which nothing comes, as one does whose gateway is stopped or cut off: it stays open.
function silenceOf(stream) {
  let timer = null, isQuiet = false;
  const fellSilent = () => {
    isQuiet = true;
    seen.trouble = `nothing was heard for ${QUIET_MS / 1000} s`;
    draw();
    timer = setTimeout(() => stream.abort(new Error(`nothing was heard for ${(QUIET_MS + LOST_MS) / 1000} s`)), LOST_MS);
  };
  const heard = () => {
    clearTimeout(timer);
    if (isQuiet) seen.trouble = null;
    isQuiet = false;
    timer = setTimeout(fellSilent, QUIET_MS);
  };
  heard();
  return { heard, end: () => clearTimeout(timer) };
}

// A stream by fetch, as EventSource cannot send a token.
async function listen() {
  const stream = new AbortController(), silence = silenceOf(stream);
  try { await listenTo(stream.signal, silence.heard); } finally { silence.end(); }
}

async function listenTo(signal, heard) {
  const answer = await fetch("/page/live", { headers: asked(), signal });
  if (answer.status === 401 || answer.status === 403) { at("token-form").hidden = false; throw new Error((await answer.json()).detail ?? "a token is needed"); }
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail ?? `HTTP ${answer.status}`);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    heard();
    if (done) throw new Error("the gateway closed the connection");
    const parts = (rest + value).split("\n\n");
    rest = parts.pop();
    for (const part of parts) {
      const kind = field(part, "event: "), data = field(part, "data: ");
      if (kind && data && told[kind]) told[kind](JSON.parse(data));
    }
    draw();
  }
}

async function keepListening() {
  for (;;) {
    try { await listen(); } catch (error) { seen.trouble = String(error.message ?? error); draw(); }
    await new Promise((again) => setTimeout(again, AGAIN_MS));
  }
}

async function fetched(path) {
  const answer = await fetch(path, { headers: { ...asked(), Accept: "application/json" } });
  if (answer.status === 404) return null;
  const document = await answer.json();
  if (!answer.ok) throw new Error(document.detail ?? document.title ?? `HTTP ${answer.status}`);
  return document;
}

function choose(job) {
  seen.job = job;
  at("job-picture").replaceChildren();
  draw();
  lookAtJob();
}

let looking = false, ended = { job: null, state: null };
async function lookAtJob() {
  const job = seen.job, state = seen.live?.jobs?.find((one) => one.job === job)?.state;
  if (!job || looking || (ended.job === job && (state ?? ended.state) === ended.state)) return;  // old ones are in no list
  looking = true;
  try {
    const view = await fetched(`/page/job/${encodeURIComponent(job)}`);
    if (view && job === seen.job) drawJob(view);
    if (["SUCCEEDED", "FAILED", "KILLED"].includes(view?.state)) ended = { job, state: view.state };
  } catch (error) {
    put(at("job-picture"), el("p", { class: "error" }, String(error.message)));
  } finally { looking = false; }
}

at("key-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const key = `${encodeURIComponent(at("keyspace").value)}/${encodeURIComponent(at("key").value)}`;
  try {
    if (/^\.{1,2}$/.test(at("key").value)) throw new Error(`A browser takes ${at("key").value} for a folder and cannot ask for it; ringmill explain shows the key.`);
    drawKey(await fetched(`/v1/locate/${key}`), await fetched(`/v1/kv/${key}`));
  } catch (error) { put(at("key-told"), el("p", { class: "error" }, String(error.message))); }
});

at("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = at("token").value.trim();
  sessionStorage.setItem("ringmill-token", token);
  location.reload();
});

keepListening();
