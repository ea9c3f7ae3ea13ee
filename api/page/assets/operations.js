// Operations: what is running at this moment. Looked at again and again while it is open and seen.

import { operations } from "./admin_api.js";
import { bdi, h } from "./dom.js";
import { count, t } from "./speech.js";
import { dialogOf, prepare } from "./view.js";
import { bytes, missing, moment, percent, seconds } from "./words.js";

const EVERY = 2000;
const JOBS = ["queued", "running", "failed"];

export async function show({ opener }) {
  await prepare();
  let timer = 0;
  let open = true;
  let before = null;
  const close = () => {
    open = false;
    clearTimeout(timer);
    document.removeEventListener("visibilitychange", look);
  };
  const view = dialogOf("operations", t("operations.heading"), { opener, onClose: close });
  const place = h("div", { class: "panels" });
  view.body.append(place);

  async function look() {
    clearTimeout(timer);
    if (!open || document.hidden) return;
    try {
      const now = await operations();
      if (!open) return;
      draw(place, panelsOf(now, before));
      before = now;
      view.say(t("operations.as_of", { when: moment(now.at) }));
    } catch (error) {
      view.complain(error);
    }
    clearTimeout(timer);
    if (open && !document.hidden) timer = setTimeout(look, EVERY);
  }
  document.addEventListener("visibilitychange", look);
  await look();
}

// Lines are kept as elements, so that what is read or focused stays where it is.
function draw(place, panels) {
  for (const { name, lines, share } of panels) {
    let panel = place.querySelector(`[data-panel="${name}"]`);
    if (!panel) {
      panel = h("section", { class: "panel", "data-panel": name, "aria-labelledby": `panel-${name}` },
        h("h3", { id: `panel-${name}` }, t(`operations.${name}`)),
        share === undefined ? null : h("meter", { min: 0, max: 1, "aria-labelledby": `panel-${name}` }), h("dl"));
      place.append(panel);
    }
    if (share !== undefined) panel.querySelector("meter").value = share;
    panel.querySelector("dl").replaceChildren(...lines.filter(Boolean).flatMap(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)]));
  }
}

const rate = (tokens, time) => (time > 0 ? t("operations.rate", { n: Math.round(tokens / time) }) : null);
const ratio = (part, whole) => (whole > 0 ? part / whole : 0);

function panelsOf(now, before) {
  const { queue, store, index, disk, engine } = now;
  const open = missing(now.checks);
  const panels = [
    { name: "service", lines: [
      ["operations.parts", open || t("operations.all_ready")],
      ["operations.version", now.version],
      ["operations.database", `${now.database} ${now.schema_revision}`],
    ] },
    { name: "queue", lines: [
      ...JOBS.map((state) => [`operations.jobs_${state}`, count(queue.jobs[state])]),
      queue.oldest_seconds ? ["operations.oldest", seconds(queue.oldest_seconds * 1000)] : null,
      ["operations.threads", count(queue.threads)],
      queue.lost ? ["operations.lost", count(queue.lost)] : null,
    ] },
    { name: "store", lines: [
      ["operations.documents", count(store.documents.ready)],
      ...Object.entries(store.failed).map(([code, n]) => ["operations.failed", `${count(n)} (${code})`]),
      ["operations.passages", count(store.chunks)],
      ["operations.originals", bytes(store.bytes)],
      ["operations.database_size", bytes(store.database_bytes)],
    ] },
    { name: "index", lines: [
      ["operations.index_collections", `${count(index.collections)} / ${count(store.collections)}`],
      ["operations.passages", count(index.chunks)],
      ["operations.embedder", bdi(now.embedder ?? "")],
    ] },
    { name: "disk", share: ratio(disk.total_bytes - disk.free_bytes, disk.total_bytes), lines: [
      ["operations.free", `${bytes(disk.free_bytes)} / ${bytes(disk.total_bytes)}`],
    ] },
  ];
  if (engine) panels.splice(1, 0, engineOf(now, before));
  return panels;
}

// Tokens in a second are those since the look before; without one those since the start, as long as models were at work.
function engineOf({ engine, at }, before) {
  const used = engine.blocks - engine.blocks_free;
  const passed = before?.engine ? (new Date(at) - new Date(before.at)) / 1000 : 0;
  const since = (name) => rate(engine[name] - (before?.engine?.[name] ?? 0), passed);
  return { name: "engine", share: ratio(used, engine.blocks), lines: [
    ["operations.model", bdi(`${engine.model} (${engine.device}, ${engine.weights})`)],
    ["operations.requests", t("operations.requests_of", { running: engine.running, waiting: engine.waiting })],
    ["operations.pool", t("operations.pool_of", { used: used * engine.block_tokens, all: engine.blocks * engine.block_tokens })],
    ["operations.hits", percent(ratio(engine.cached_tokens, engine.prompt_tokens))],
    passed ? ["operations.reading_now", since("prompt_tokens")] : null,
    passed ? ["operations.writing_now", since("new_tokens")] : null,
    engine.reading_seconds ? ["operations.reading", rate(engine.prompt_tokens - engine.cached_tokens, engine.reading_seconds)] : null,
    engine.writing_seconds ? ["operations.writing", rate(engine.new_tokens, engine.writing_seconds)] : null,
    ...Object.entries(engine.tiers).filter(([, held]) => held.limit_bytes).map(([tier, held]) => [`operations.tier_${tier}`, `${bytes(held.bytes)} / ${bytes(held.limit_bytes)}`]),
  ] };
}
