// The list of jobs, and of one a row for each slot with its attempts, as they ran.

import { at, bytes, clock, colour, count, el, put, span, svg, widthOf } from "./dom.js";

const ROW = 20, LEFT = 74;

export function drawJobs(jobs, chosen, choose) {
  if (jobs === null) { put(at("job-list"), el("p", { class: "quiet" }, "Jobs are told to those with a token of the role jobs.")); return; }
  if (!jobs.length) { put(at("job-list"), el("p", { class: "quiet" }, "No job was run yet.")); return; }
  const place = at("job-list"), had = document.activeElement?.dataset?.job;
  place.replaceChildren(el("div", { class: "jobs" }, jobs.map((job) => el("button", {
    type: "button", "data-job": job.job, "aria-pressed": String(job.job === chosen), onclick: () => choose(job.job),
  }, `${job.name || job.job} · ${job.state.toLowerCase()} · ${span(job.seconds)}`))));
  if (had) place.querySelector(`[data-job="${CSS.escape(had)}"]`)?.focus();
}

export function drawJob(job) {
  const now = job.seconds, ended = Math.max(now, ...job.rows.flatMap((row) => row.attempts.map((one) => one.ended_s ?? 0)), 0.001);
  const width = widthOf(at("job-picture"));
  const place = (seconds) => LEFT + (width - LEFT) * (seconds / ended);
  const stages = el("div", { class: "stages" }, job.stages.flatMap((stage) => {
    const done = stage.total ? stage.done / stage.total : 0, bar = el("i");
    bar.style.width = `${(done * 100).toFixed(1)}%`;
    return [el("span", {}, stage.name),
      el("div", { class: `progress ${stage.name.startsWith("reduce") ? "reduce" : ""}`, role: "progressbar", "aria-label": stage.name, "aria-valuemin": 0, "aria-valuemax": stage.total, "aria-valuenow": stage.done }, bar),
      el("span", { class: "quiet" }, `${stage.done} of ${stage.total}${stage.running ? `, ${stage.running} run` : ""}`)];
  }));
  const rows = job.rows.flatMap((row, index) => {
    const y = index * ROW + 3;
    return [svg("text", { x: 0, y: y + 12 }, `${row.node} ${row.slot}`), ...row.attempts.map((one) => {
      const x = place(one.began_s), bad = ["failed", "lost"].includes(one.state), cancelled = one.state === "cancelled";
      const bar = svg("rect", {
        x, y, height: ROW - 6, rx: 2, width: Math.max(2, place(one.ended_s ?? now) - x - 1),
        fill: bad ? "var(--bad)" : cancelled ? "var(--quiet)" : colour(one.stage === "map" ? 0 : 1),
        opacity: one.state === "running" ? 0.6 : 1, stroke: one.is_backup ? "var(--ink)" : "none", "stroke-width": 2,
      });
      bar.append(svg("title", {}, `${one.name} ${one.state}${one.is_backup ? ", a second attempt" : ""}: ${span((one.ended_s ?? now) - one.began_s)}, ${bytes(one.bytes_in)} in, ${count(one.records_out)} records out${one.error ? `: ${one.error}` : ""}`));
      return bar;
    })];
  });
  put(at("job-picture"),
    el("p", {}, `${job.job} · ${job.state.toLowerCase()} · begun ${clock(job.submitted_at)} · ${span(job.seconds)}${job.of_journal ? " · by its journal" : ""}${job.retried ? ` · ${job.retried} retried` : ""}`),
    job.error ? el("p", { class: "error" }, job.error.message) : null, stages,
    svg("svg", { viewBox: `0 0 ${width} ${job.rows.length * ROW + 18}`, role: "img", "aria-label": `A row for each of ${job.rows.length} slots, with the attempts that ran there` },
      rows, svg("text", { x: LEFT, y: job.rows.length * ROW + 14, class: "faint" }, "0 s"),
      svg("text", { x: width, y: job.rows.length * ROW + 14, "text-anchor": "end", class: "faint" }, span(ended))),
    el("p", { class: "quiet" }, "Blue: map. Orange: reduce. Red: failed or lost. Grey: cancelled. Framed: a second attempt of a slow task."));
}
