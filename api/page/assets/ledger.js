// What was read for an answer and what was not: the packing ledger in plain words.

import { bdi, h } from "./dom.js";
import { count, pagesLabel, plural, reasonFor, seconds } from "./words.js";

const row = (entry, last) => h("li", {},
  h("span", { class: "ledger-title" }, bdi(entry.document_title), pagesLabel(entry.page_start, entry.page_end) ? ` · ${pagesLabel(entry.page_start, entry.page_end)}` : ""),
  h("span", { class: "ledger-figure" }, last));

function timingsLine(timings, usage) {
  const parts = [];
  if (timings?.retrieval_ms !== undefined) parts.push(`searching ${seconds(timings.retrieval_ms)}`);
  if (timings?.time_to_first_token_ms) parts.push(`reading ${seconds(timings.time_to_first_token_ms)}`);
  if (timings?.generation_ms) parts.push(`writing ${seconds(timings.generation_ms)}`);
  if (usage?.cached_tokens) parts.push(`${plural(usage.cached_tokens, "token")} remembered from before`);
  return parts.join(", ");
}

// A disclosure element for an answer's `context` (and, when it is complete, `timings` and `usage`).
export function ledgerOf({ context, timings, usage }) {
  const { segments, dropped = [] } = context;
  const what = context.mode === "whole_corpus" ? "everything" : plural(segments.length, "passage");
  const timing = timingsLine(timings, usage);
  return h("details", { class: "ledger" },
    h("summary", {}, "What was read"),
    h("p", { class: "fine" }, segments.length
      ? `${what[0].toUpperCase()}${what.slice(1)}, ${count(context.tokens)} of at most ${plural(context.budget, "token")}.`
      : "Nothing was read."),
    segments.length ? h("ol", { class: "ledger-list" }, segments.map((entry) => row(entry, plural(entry.tokens, "token")))) : null,
    dropped.length ? h("p", { class: "fine ledger-left" }, `Found, but left out: ${plural(dropped.length, "passage")}`) : null,
    dropped.length ? h("ul", { class: "ledger-list" }, dropped.map((entry) => row(entry, reasonFor(entry.reason)))) : null,
    timing ? h("p", { class: "fine" }, `${timing[0].toUpperCase()}${timing.slice(1)}.`) : null);
}
