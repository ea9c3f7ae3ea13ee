// Plain words for states, codes and numbers.

import { bdi, h } from "./dom.js";
import { count, has, locale, t } from "./speech.js";
import { remedyFor } from "./problems.js";

const time = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" });
export const moment = (text) => time.format(new Date(text));

const share = new Intl.NumberFormat(locale, { style: "percent" });
export const percent = (fraction) => share.format(Math.floor(fraction * 100) / 100);

const measure = (unit, unitDisplay, digits) =>
  new Intl.NumberFormat(locale, { style: "unit", unit, unitDisplay, minimumFractionDigits: digits, maximumFractionDigits: digits });
const chained = new Intl.ListFormat(locale, { type: "unit", style: "short" });

export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  if (value < 90) return measure("second", "short", value < 10 ? 1 : 0).format(value);
  return chained.format([measure("minute", "short", 0).format(Math.floor(value / 60)), measure("second", "short", 0).format(Math.round(value % 60))]);
}

export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte"];
  let [size, unit] = [value, 0];
  while (size >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return measure(units[unit], unit ? "short" : "long", unit && size < 100 ? 1 : 0).format(size);
}

export const capital = (text) => text.slice(0, 1).toLocaleUpperCase(locale) + text.slice(1);

export const FINAL = new Set(["ready", "failed", "cancelled"]);

const KINDS = [
  ["pdf", "kind.pdf"], ["wordprocessingml", "kind.word"], ["html", "kind.html"], ["markdown", "kind.markdown"], ["text/", "kind.text"],
];
export const kindOf = (mediaType) => t(KINDS.find(([part]) => mediaType?.includes(part))?.[1] ?? "kind.file");

// One line on where a document stands, from its status and counters.
export function stateLine(doc) {
  if (doc.status === "parsing" && doc.pages_total) return t("state.parsing_pages", { done: doc.pages_done, total: doc.pages_total });
  if (doc.status === "embedding" && doc.chunks_total) return t("state.embedding_passages", { done: doc.chunks_done, total: doc.chunks_total });
  if (doc.status !== "ready" && has(`state.${doc.status}`)) return t(`state.${doc.status}`);
  return [
    kindOf(doc.media_type),
    doc.pages_total ? t("unit.pages", { n: doc.pages_total }) : null,
    t("unit.passages", { n: doc.chunks_total }),
  ].filter(Boolean).join(" · ");
}
// The same of a newer version that is on its way while the old one answers; null without one.
export function newerLine(doc) {
  const newer = doc.updating;
  if (!newer) return null;
  if (newer.status === "failed") return t("newer.failed", { why: remedyFor(newer.error?.code) ?? newer.error?.detail });
  if (newer.status === "cancelled") return t("newer.cancelled");
  return t("newer.coming", { state: stateLine(newer) });
}
// Whether something of a document is on its way.
export const isBusy = (doc) => !FINAL.has(doc.status) || (doc.updating && !FINAL.has(doc.updating.status));

// Progress of a document as [done, total], or null while nobody can tell.
export function progressOf(doc) {
  if (doc.status === "parsing" && doc.pages_total) return [doc.pages_done, doc.pages_total];
  if (doc.status === "embedding" && doc.chunks_total) return [doc.chunks_done, doc.chunks_total];
  return null;
}

// The words of a code that the server may send; one that is not known is shown as it is.
export const coded = (group, code) => (has(`${group}.${code}`) ? t(`${group}.${code}`) : String(code).replaceAll("_", " "));
export const reasonFor = (code) => coded("reason", code);

export function pagesLabel(first, last) {
  if (first === null || first === undefined) return null;
  return last && last !== first ? t("place.pages", { first, last }) : t("place.page", { page: first });
}

// Where a passage stands: its document, and the page if there are pages.
export function sourceOf({ document_title, page_number }) {
  const page = pagesLabel(page_number);
  return page ? [bdi(document_title), h("span", {}, page)] : [bdi(document_title)];
}

const several = new Intl.ListFormat(locale);
// What is still missing, from the checks of /readyz: parts that load in one sentence, those that failed with their reason.
export function missing(checks) {
  const open = Object.entries(checks ?? {}).filter(([, state]) => state !== "ok").map(([name, state]) => [coded("part", name), state]);
  const failed = open.filter(([, state]) => state !== "loading").map(([name, state]) => t("readiness.failed", { part: capital(name), why: state }));
  const loading = open.filter(([, state]) => state === "loading").map(([name]) => name);
  if (loading.length) failed.push(t("readiness.loading", { parts: several.format(loading) }));
  return failed.join(" ");
}

export { count };
