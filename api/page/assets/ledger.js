// What was read for an answer and what was not: the packing ledger as a picture, and as a table.

import { bdi, h, setText } from "./dom.js";
import { t, told } from "./speech.js";
import { capital, coded, pagesLabel, reasonFor, seconds } from "./words.js";

const COLOURS = 5;

function timingsLine(timings, usage) {
  const parts = [];
  if (timings?.retrieval) parts.push(t("ledger.searching", { time: seconds(timings.retrieval) }));
  if (timings?.time_to_first_token) parts.push(t("ledger.first_words", { time: seconds(timings.time_to_first_token) }));
  if (timings?.generation) parts.push(t("ledger.writing", { time: seconds(timings.generation) }));
  if (usage?.cached_tokens) parts.push(t("ledger.remembered", { n: usage.cached_tokens }));
  return capital(parts.join(" · "));
}

const placeOf = (entry) => pagesLabel(entry.page_number, entry.page_end);
const titleOf = (entry) => entry.document_title ?? t("ledger.untitled");
const described = (entry) => [titleOf(entry), placeOf(entry)].filter(Boolean).join(", ");

// The budget as a bar: what each document took of it, and behind it a peg for each candidate that was left out. What is
// pointed at, or focused, is said in the line below.
function picture(context) {
  const { segments, dropped = [], tokens, budget } = context;
  const rest = t("ledger.rest");
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
  const bar = h("div", { class: "ledger-bar", role: "group", "aria-label": t("ledger.bar", { tokens, budget }) },
    segments.map((segment) => {
      const button = part(`ledger-part colour-${order.indexOf(segment.document_id) % COLOURS}`, t(segment.cut ? "ledger.part_cut" : "ledger.part", { place: described(segment), n: segment.tokens }));
      button.style.flexGrow = String(segment.tokens);
      return button;
    }));
  const room = h("span", { class: "ledger-room", "aria-hidden": "true" });
  room.style.flexGrow = String(Math.max(0, budget - tokens));
  bar.append(room);
  const left = h("div", { class: "ledger-pegs", role: "group", "aria-label": t("ledger.pegs", { n: dropped.length }) },
    dropped.map((entry) => part("ledger-peg", t("ledger.peg", { place: described(entry), reason: reasonFor(entry.reason) }))));
  return h("div", { class: "ledger-picture" }, bar, dropped.length ? left : null, line);
}

function table({ segments, dropped = [] }) {
  const row = (entry, figure) => h("tr", {},
    h("td", {}, bdi(titleOf(entry)), placeOf(entry) ? ` · ${placeOf(entry)}` : ""),
    h("td", { class: "ledger-figure" }, figure));
  return h("table", { class: "ledger-table" },
    h("thead", { class: "unseen" }, h("tr", {}, h("th", { scope: "col" }, t("ledger.passage")), h("th", { scope: "col" }, t("ledger.figure")))),
    h("tbody", {}, segments.map((entry) => row(entry, t("unit.tokens", { n: entry.tokens })))),
    dropped.length ? h("tbody", {},
      h("tr", {}, h("th", { colspan: "2", scope: "rowgroup", class: "ledger-left" }, t("ledger.left", { n: dropped.length }))),
      dropped.map((entry) => row(entry, reasonFor(entry.reason)))) : null);
}

function searchesOf(searches) {
  if (!(searches?.length > 1) && searches?.[0]?.why !== "follow_up") return null;
  return h("ul", { class: "ledger-searches fine", "aria-label": t("ledger.searches") },
    searches.map((search) => h("li", {}, told("ledger.searched", { query: bdi(search.query), why: coded("why", search.why), n: search.found }))));
}

// A disclosure element for an answer's `context` (and, when it is complete, `timings`, `usage` and `searches`).
export function ledgerOf({ context, timings, usage, searches }) {
  const { segments, dropped = [] } = context;
  const read = context.mode === "whole_corpus" ? "ledger.read_all" : "ledger.read";
  const timing = timingsLine(timings, usage);
  return h("details", { class: "ledger" },
    h("summary", {}, t("ledger.heading")),
    h("p", { class: "fine" }, segments.length
      ? t(read, { passages: segments.length, tokens: context.tokens, budget: context.budget })
      : t("ledger.read_nothing")),
    segments.length ? picture(context) : null,
    segments.length || dropped.length ? table(context) : null,
    searchesOf(searches),
    timing ? h("p", { class: "fine" }, timing) : null);
}
