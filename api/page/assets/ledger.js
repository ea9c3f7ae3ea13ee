// What was read for an answer and what was not: the packing ledger as a picture, and as a table.

import { bdi, h, setText } from "./dom.js";
import { count, pagesLabel, plural, reasonFor, seconds } from "./words.js";

const COLOURS = 5;

function timingsLine(timings, usage) {
  const parts = [];
  if (timings?.retrieval) parts.push(`searching ${seconds(timings.retrieval)}`);
  if (timings?.time_to_first_token) parts.push(`first words after ${seconds(timings.time_to_first_token)}`);
  if (timings?.generation) parts.push(`writing ${seconds(timings.generation)}`);
  if (usage?.cached_tokens) parts.push(`${plural(usage.cached_tokens, "token")} remembered from before`);
  return parts.join(", ");
}

const placeOf = (entry) => pagesLabel(entry.page_number, entry.page_end);
const described = (entry) => [entry.document_title ?? "A document", placeOf(entry)].filter(Boolean).join(", ");

// The budget as a bar: what each document took of it, and behind it a peg for each candidate that was left out. What is
// pointed at, or focused, is said in the line below.
function picture(context) {
  const { segments, dropped = [], tokens, budget } = context;
  const rest = "Point at a part, or step through with Tab, to see what it is.";
  const line = h("p", { class: "fine ledger-line", "aria-live": "polite" }, rest);
  const part = (kind, label) => {
    const button = h("button", {
      type: "button", class: kind, "aria-label": label,
      onmouseenter: () => setText(line, label), onfocus: () => setText(line, label),
      onmouseleave: () => setText(line, rest), onblur: () => setText(line, rest), onclick: () => setText(line, label),
    });
    return button;
  };
  const order = [...new Set(segments.map((segment) => segment.document_id))];
  const bar = h("div", { class: "ledger-bar", role: "group", "aria-label": `Read: ${count(tokens)} of at most ${plural(budget, "token")}` },
    segments.map((segment) => {
      const button = part(`ledger-part colour-${order.indexOf(segment.document_id) % COLOURS}`, `Read: ${described(segment)}, ${plural(segment.tokens, "token")}${segment.cut ? ", cut to fit" : ""}`);
      button.style.flexGrow = String(segment.tokens);
      return button;
    }));
  const room = h("span", { class: "ledger-room", "aria-hidden": "true" });
  room.style.flexGrow = String(Math.max(0, budget - tokens));
  bar.append(room);
  const left = h("div", { class: "ledger-pegs", role: "group", "aria-label": `Left out: ${plural(dropped.length, "passage")}` },
    dropped.map((entry) => part("ledger-peg", `Left out: ${described(entry)}: ${reasonFor(entry.reason)}`)));
  return h("div", { class: "ledger-picture" }, bar, dropped.length ? left : null, line);
}

function table({ segments, dropped = [] }) {
  const row = (entry, figure) => h("tr", {},
    h("td", {}, bdi(entry.document_title ?? "A document"), placeOf(entry) ? ` · ${placeOf(entry)}` : ""),
    h("td", { class: "ledger-figure" }, figure));
  return h("table", { class: "ledger-table" },
    h("thead", { class: "unseen" }, h("tr", {}, h("th", { scope: "col" }, "Passage"), h("th", { scope: "col" }, "Tokens, or why it was left out"))),
    h("tbody", {}, segments.map((entry) => row(entry, plural(entry.tokens, "token")))),
    dropped.length ? h("tbody", {},
      h("tr", {}, h("th", { colspan: "2", scope: "rowgroup", class: "ledger-left" }, `Found, but left out: ${plural(dropped.length, "passage")}`)),
      dropped.map((entry) => row(entry, reasonFor(entry.reason)))) : null);
}

const WHY = { question: "the question", follow_up: "made whole from the conversation", part: "a part of the question", next_place: "what the passages point to" };

function searchesOf(searches) {
  if (!(searches?.length > 1) && searches?.[0]?.why !== "follow_up") return null;
  return h("ul", { class: "ledger-searches fine", "aria-label": "Searches" },
    searches.map((search) => h("li", {}, "Searched ", bdi(`“${search.query}”`), ` (${WHY[search.why] ?? search.why}): ${plural(search.found, "passage")}`)));
}

// A disclosure element for an answer's `context` (and, when it is complete, `timings`, `usage` and `searches`).
export function ledgerOf({ context, timings, usage, searches }) {
  const { segments, dropped = [] } = context;
  const what = context.mode === "whole_corpus" ? "everything" : plural(segments.length, "passage");
  const timing = timingsLine(timings, usage);
  return h("details", { class: "ledger" },
    h("summary", {}, "What was read"),
    h("p", { class: "fine" }, segments.length
      ? `${what[0].toUpperCase()}${what.slice(1)}, ${count(context.tokens)} of at most ${plural(context.budget, "token")}.`
      : "Nothing was read."),
    segments.length ? picture(context) : null,
    segments.length || dropped.length ? table(context) : null,
    searchesOf(searches),
    timing ? h("p", { class: "fine" }, `${timing[0].toUpperCase()}${timing.slice(1)}.`) : null);
}
