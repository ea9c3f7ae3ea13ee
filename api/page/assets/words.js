// Plain words for states, codes and numbers.

const number = new Intl.NumberFormat("en");
const time = new Intl.DateTimeFormat("en", { dateStyle: "medium", timeStyle: "short" });

export const count = (value) => number.format(value ?? 0);
export const plural = (value, one, many = `${one}s`) => `${count(value)} ${value === 1 ? one : many}`;

export const moment = (text) => time.format(new Date(text));

export function seconds(milliseconds) {
  const value = milliseconds / 1000;
  if (value < 90) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export const FINAL = new Set(["ready", "failed", "cancelled"]);

const KINDS = [
  ["pdf", "PDF"], ["wordprocessingml", "Word"], ["html", "Web page"], ["markdown", "Markdown"], ["text/", "Text"],
];
export const kindOf = (mediaType) => KINDS.find(([part]) => mediaType?.includes(part))?.[1] ?? "File";

// One line on where a document stands, from its status and counters.
export function stateLine(doc) {
  const of = (done, total, unit) => (total ? `${count(done)} of ${plural(total, unit)}` : null);
  switch (doc.status) {
    case "queued": return "Waiting its turn";
    case "parsing": return joined("Reading", of(doc.pages_done, doc.pages_total, "page"));
    case "chunking": return "Cutting into passages";
    case "embedding": return joined("Indexing", of(doc.chunks_done, doc.chunks_total, "passage"));
    case "failed": return "Could not be read";
    case "cancelled": return "Cancelled";
    default: return [
      kindOf(doc.media_type),
      doc.pages_total ? plural(doc.pages_total, "page") : null,
      plural(doc.chunks_total, "passage"),
    ].filter(Boolean).join(" · ");
  }
}
// The same of a newer version that is on its way while the old one answers; null without one.
export function newerLine(doc) {
  const newer = doc.updating;
  if (!newer) return null;
  if (newer.status === "failed") return `The new version can't be read: ${remedyFor(newer.error?.code) ?? newer.error?.detail ?? ""}`;
  if (newer.status === "cancelled") return "The new version was cancelled.";
  return `New version: ${stateLine(newer)}`;
}
// Whether something of a document is on its way.
export const isBusy = (doc) => !FINAL.has(doc.status) || (doc.updating && !FINAL.has(doc.updating.status));

export function bytes(value) {
  const units = ["B", "kB", "MB", "GB"];
  let [size, unit] = [value, 0];
  while (size >= 1000 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${unit && size < 100 ? size.toFixed(1) : Math.round(size)} ${units[unit]}`;
}
const joined = (verb, rest) => (rest ? `${verb} ${rest}` : verb);

// Progress of a document as [done, total], or null while nobody can tell.
export function progressOf(doc) {
  if (doc.status === "parsing" && doc.pages_total) return [doc.pages_done, doc.pages_total];
  if (doc.status === "embedding" && doc.chunks_total) return [doc.chunks_done, doc.chunks_total];
  return null;
}

const REMEDIES = {
  encrypted: "It is protected by a password. Save a copy without one and add that.",
  no_text: "It holds no text, as scanned pages do. Run text recognition (OCR) over it, then add the result.",
  corrupt: "The file is damaged. Export or download it again, then add the new copy.",
  empty: "The file is empty. Check that the right one was chosen.",
  unsupported_type: "Files of this kind are not read. Save it as PDF, Word, HTML, Markdown or plain text.",
  too_large: "It is larger than this server accepts. Split it and add the parts.",
  timeout: "Reading it took longer than allowed. Split it, or try again when less is going on.",
  out_of_memory: "Reading it needed more memory than allowed. Split it and add the parts.",
  duplicate_document: "The same file is already in this collection.",
  unreachable: "The server did not answer. Try again.",
};
// What went wrong with a file and what to do, or null for a code without advice.
export const remedyFor = (code) => REMEDIES[code] ?? null;

export const VERDICTS = {
  insufficient_evidence: "The documents do not say enough to answer this. The passages that come closest are below.",
  insufficient_evidence_bare: "The documents do not say enough to answer this.",
  nothing_retrieved: "Nothing in these documents has to do with this question. Try other words, or add a document that covers it.",
};

const REASONS = {
  over_budget: "did not fit into what is read for one answer",
  near_duplicate: "says the same as a passage that was read",
  not_quoted: "held no sentence worth quoting",
  not_likely: "held nothing that is likely to answer it",
};
export const reasonFor = (code) => REASONS[code] ?? String(code).replaceAll("_", " ");

export function pagesLabel(first, last) {
  if (first === null || first === undefined) return null;
  return last && last !== first ? `pages ${count(first)}–${count(last)}` : `page ${count(first)}`;
}

const PARTS = { database: "database", schema: "database schema", embedder: "search model", engine: "language model", worker: "document reader" };
// What is still missing, from the checks of /readyz: parts that load in one sentence, those that failed with their reason.
export function missing(checks) {
  const open = Object.entries(checks ?? {}).filter(([, state]) => state !== "ok").map(([name, state]) => [`the ${PARTS[name] ?? name}`, state]);
  const failed = open.filter(([, state]) => state !== "loading").map(([name, state]) => `${name[0].toUpperCase()}${name.slice(1)}: ${state}`);
  const loading = open.filter(([, state]) => state === "loading").map(([name]) => name);
  if (loading.length) failed.push(`Still starting: ${new Intl.ListFormat("en").format(loading)}. Documents can be added meanwhile.`);
  return failed.join(" ");
}
