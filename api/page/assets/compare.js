// Two answers to one question side by side: the second one asked with other settings, or the first one made again.

import { ask, listCollections, replayAnswer } from "./api.js";
import { bdi, h } from "./dom.js";
import { changesOf } from "./replay.js";
import { showProblem } from "./problems.js";
import { count, locale, t, told } from "./speech.js";
import { onlyHere, placeOf } from "./differences.js";
import { choice, dialogOf, field, prepare } from "./view.js";
import { coded, pagesLabel, seconds } from "./words.js";

const NONE = "–";
const EXAMPLE = JSON.stringify({ year: { $gte: 2023 } });

// `answer` as the stream's end or the store gave it; `collection` is the one that is looked at.
export async function show({ opener, question, answer, collection }) {
  await prepare();
  const abort = new AbortController();
  const view = dialogOf("compare", t("compare.heading"), { opener, onClose: () => abort.abort() });
  const pair = h("div", { class: "pair-view" });
  const collections = await view.tried(listCollections) ?? [];

  const asked = h("textarea", { rows: "2", maxlength: "8000", dir: "auto", required: true });
  asked.value = question;
  const where = choice(collections.map(({ name }) => [name, name]), answer.collection ?? collection);
  const mode = choice([["", t("compare.mode_default")], ["auto", t("compare.mode_auto")], ["quotes", t("compare.mode_quotes")], ["answer", t("compare.mode_answer")]], "");
  const budget = h("input", { type: "number", min: "64", step: "1", inputmode: "numeric", placeholder: answer.context ? String(answer.context.budget) : null });
  const filter = h("input", { type: "text", dir: "ltr", autocomplete: "off", spellcheck: "false" });
  const again = h("button", { type: "button", class: "small", onclick: () => run(() => replayed()) }, t("compare.replay"));
  const form = h("form", { class: "view-form", onsubmit: (event) => { event.preventDefault(); run(() => other()); } },
    field(t("compare.question"), asked),
    h("div", { class: "view-row" }, field(t("collections.label"), where), field(t("compare.mode"), mode), field(t("compare.budget"), budget)),
    field(t("compare.filter"), filter, told("compare.filter_hint", { example: h("code", {}, EXAMPLE) })),
    h("div", { class: "talk-does" }, h("button", { type: "submit", class: "primary" }, t("compare.go")), again));

  // The answer made again with all that it was made with.
  async function replayed() {
    const found = await replayAnswer(answer.answer_id);
    if (!found.changed) return { answer: found, note: t("replay.same") };
    return { answer: found.now, note: h("div", {}, t("replay.differs"), changesOf(found.changed)) };
  }
  async function other() {
    const body = { question: asked.value.trim(), collection: where.value };
    if (mode.value) body.mode = mode.value;
    if (budget.value) body.max_context_tokens = Number(budget.value);
    if (filter.value.trim()) body.filters = filterOf(filter.value);
    for await (const { type, data } of ask(body, abort.signal)) {
      if (type === "done") return { answer: data, note: null };
    }
    return null;
  }
  let running = false;
  async function run(work) {
    if (running) return;
    running = true;
    for (const each of form.querySelectorAll("button")) each.disabled = true;
    view.say(t("compare.running"));
    try {
      const { answer: second, note } = await work();
      draw(second, note);
      view.say(second ? summary(second) : "");
    } catch (error) {
      if (error.name !== "AbortError") view.complain(error);
    } finally {
      running = false;
      for (const each of form.querySelectorAll("button")) each.disabled = false;
    }
  }

  const summary = (second) => {
    const quotes = onlyHere(answer.citations, second.citations, placeOf).length + onlyHere(second.citations, answer.citations, placeOf).length;
    const words = textOf(answer) === textOf(second);
    return `${t(words ? "compare.same_words" : "compare.other_words")} ${t("compare.quotes_differ", { n: quotes })}`;
  };
  function draw(second, note) {
    pair.replaceChildren(
      ...(second ? [figures(answer, second)] : []), side(t("compare.first"), answer, second),
      second ? side(t("compare.second"), second, answer, note) : h("section", { class: "side", "aria-label": t("compare.second") }, h("h3", {}, t("compare.second")), note));
  }

  view.body.append(form, pair);
  pair.append(side(t("compare.first"), answer, null));
}

// JSON, or a Problem that says so.
function filterOf(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw Object.assign(new Error(), { code: "invalid_filter", detail: "" });
  }
}

const textOf = (answer) => (answer?.answer ?? "").trim();

// One answer; what the other one lacks is marked, and said.
function side(heading, answer, other, note = null) {
  const strange = new Set(other ? onlyHere(answer.citations, other.citations, placeOf) : []);
  const text = textOf(answer);
  const pieces = other && text ? onlyHere(words(text), words(textOf(other)), (word) => word, true) : [[text, false]];
  return h("section", { class: "side", "aria-label": heading }, h("h3", {}, heading), note,
    answer.withdrawn ? h("p", { class: "turn-verdict" }, t("turn.withdrawn")) : null,
    text ? h("p", { class: "side-text", dir: "auto", lang: answer.language }, pieces.map(([piece, only]) => (only ? h("mark", {}, piece) : piece))) : null,
    h("ol", { class: "side-quotes" }, answer.citations.map((quote) => h("li", { value: quote.id, class: strange.has(quote) ? "is-only" : null },
      h("blockquote", { dir: "auto" }, quote.cited_text),
      h("p", { class: "fine" }, bdi(quote.document_title), quote.page_number ? ` · ${pagesLabel(quote.page_number)}` : null,
        strange.has(quote) ? h("strong", {}, ` ${t("compare.only")}`) : null)))));
}
// Words in any script, each with what stands between it and the next, so that joined they are the text again.
function words(text) {
  const found = [];
  for (const { segment, isWordLike } of new Intl.Segmenter(locale, { granularity: "word" }).segment(text)) {
    if (isWordLike || !found.length) found.push(segment);
    else found[found.length - 1] += segment;
  }
  return found;
}

function figures(first, second) {
  const rows = [
    ["compare.status", (each) => coded("status", each.answer_status)],
    ["compare.kind", (each) => coded("answerkind", each.answer_kind)],
    ["compare.quotes", (each) => each.citations.length],
    ["compare.words", (each) => words(textOf(each)).length],
    ["compare.read", (each) => each.context?.tokens],
    ["compare.prompt", (each) => each.usage?.prompt_tokens],
    ["compare.written", (each) => each.usage?.completion_tokens],
    ["compare.time", (each) => (each.timings?.total ? seconds(each.timings.total) : null)],
  ];
  const cell = (value) => h("td", {}, typeof value === "number" ? count(value) : value ?? NONE);
  return h("table", { class: "view-table figures" },
    h("thead", {}, h("tr", {}, h("td"), h("th", { scope: "col" }, t("compare.first")), h("th", { scope: "col" }, t("compare.second")))),
    h("tbody", {}, rows.map(([key, read]) => {
      const [one, two] = [read(first), read(second)];
      return h("tr", { class: one === two ? null : "is-other" }, h("th", { scope: "row" }, t(key)), cell(one), cell(two));
    })));
}
