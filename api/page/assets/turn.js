// One question and its answer on the page, from the first event of the stream to the last.

import { announce, bdi, h, setText } from "./dom.js";
import { copyText, transcript } from "./copy.js";
import { judgementOf } from "./judge.js";
import { ledgerOf } from "./ledger.js";
import { replayOf } from "./replay.js";
import { showWorth } from "./worth.js";
import { showProblem } from "./problems.js";
import { has, t, told } from "./speech.js";
import { moment, seconds, sourceOf } from "./words.js";

export class Turn {
  #citations = [];
  #text = "";
  #frame = 0;
  #from = performance.now();
  #context = null;
  #receipts = [];
  #does;

  // `does`: {again(question), cite(citations, index, opener), compare(question, answer, opener)}.
  constructor(question, does) {
    this.question = question;
    this.#does = does;
    this.heading = h("h3", { class: "turn-question", dir: "auto", tabindex: "-1" }, question);
    this.stage = h("p", { class: "turn-stage" }, t("turn.searching"));
    this.bar = h("progress", { "aria-label": t("turn.progress") });
    this.prose = h("div", { class: "turn-answer", dir: "auto", hidden: true });
    this.notes = h("ul", { class: "turn-notes", "aria-label": t("turn.notes"), hidden: true });
    this.verdict = h("p", { class: "turn-verdict", hidden: true });
    this.quotes = h("ol", { class: "quotes", "aria-label": t("turn.quotes"), hidden: true });
    this.foot = h("div", { class: "turn-foot", hidden: true });
    this.element = h("article", { class: "turn is-running", "aria-busy": "true" },
      this.heading, h("div", { class: "turn-progress" }, this.stage, this.bar), this.verdict, this.prose, this.notes, this.quotes, this.foot);
  }

  // Takes one event of the stream.
  take({ type, data }) {
    if (type === "context") this.#found(data);
    else if (type === "progress") this.#reading(data);
    else if (type === "citation") this.#cited(data);
    else if (type === "delta") this.#wrote(data.text);
    else if (type === "receipt") this.#weighed(data);
    else if (type === "done") this.#done(data);
  }

  #found(context) {
    this.#context = context;
    const documents = new Set(context.segments.map((segment) => segment.document_id)).size;
    if (!documents) return this.#say(t("turn.nothing"));
    return this.#say(context.mode === "whole_corpus"
      ? t("turn.found_all", { documents })
      : t("turn.found", { passages: context.segments.length, documents }));
  }

  #reading({ read, total, cached }) {
    this.bar.max = Math.max(1, total);
    this.bar.value = read;
    this.#say(t(cached ? "turn.reading_cached" : "turn.reading", { read, total, cached }), false);
  }

  #cited(citation) {
    this.#citations.push(citation);
    this.quotes.hidden = false;
    this.quotes.append(this.#quote(citation));
    if (this.#text) this.#draw();
  }

  #quote(citation) {
    const open = h("button", {
      type: "button", class: "quote-open", "aria-label": t("turn.open", { id: citation.id, title: citation.document_title }),
      onclick: () => this.#open(citation.id, open),
    }, h("span", { class: "quote-number", "aria-hidden": "true" }, String(citation.id)));
    return h("li", { class: "quote", "data-id": String(citation.id) },
      open,
      h("blockquote", { dir: "auto" }, citation.cited_text),
      h("p", { class: "quote-source source" }, ...sourceOf(citation)));
  }

  #open(id, opener) {
    const index = this.#citations.findIndex((citation) => citation.id === id);
    if (index >= 0) this.#does.cite(this.#citations, index, opener);
  }

  #weighed(receipt) {
    this.#say(t("turn.weighing"), false);
    this.#receipts.push(receipt);
    showWorth(this.quotes, this.#receipts);
  }

  #wrote(text) {
    if (!this.#text) { this.#say(t("turn.writing")); this.bar.removeAttribute("value"); }
    this.#text += text;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  // Text with its [n] as buttons; only markers of quotes that exist become buttons.
  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const known = new Set(this.#citations.map((citation) => citation.id));
    const marker = (id) => {
      const button = h("button", { type: "button", class: "marker", "aria-label": t("turn.marker", { id }), onclick: () => this.#open(id, button) }, String(id));
      return button;
    };
    const unsupported = () => h("span", { class: "unsupported", role: "img", "aria-label": t("turn.unsupported"), title: t("turn.unsupported") }, "?");
    const pieces = (text) => text.split(/\s?\[(\d+|\?)\]/).map((part, place) => {
      if (place % 2 === 0) return part;
      if (part === "?") return unsupported();
      return known.has(Number(part)) ? marker(Number(part)) : `[${part}]`;
    }).filter((part) => part !== "");
    // A marker stays on the line of what it follows, and the full stop on the marker's.
    const parts = this.#text.trim().split(/(\S{0,12}(?:\s?\[(?:\d+|\?)\])+[.,;:!?…]*)/).map((part, place) =>
      (place % 2 ? h("span", { class: "together" }, pieces(part)) : part));
    this.prose.replaceChildren(...parts.filter((part) => part !== ""));
    this.prose.hidden = !this.#text.trim();
  }

  // Shows an answer that was given before, as far as its documents are still there.
  restore(answer) {
    this.#show(answer);
    if (answer.withdrawn) {
      setText(this.verdict, t("turn.withdrawn"));
      this.verdict.hidden = false;
    }
    this.#end(moment(answer.created_at));
    this.#footer(answer);
  }

  #done(answer) {
    this.#show(answer);
    this.#end(t("turn.took", { time: seconds(performance.now() - this.#from) }));
    this.#footer(answer);
    announce(this.#spoken());
  }

  #show(answer) {
    this.answer = answer;
    this.#citations = answer.citations;
    this.quotes.replaceChildren(...answer.citations.map((citation) => this.#quote(citation)));
    this.quotes.hidden = !answer.citations.length;
    this.#text = answer.answer ?? "";
    if (this.#onlyQuotes()) this.#text = "";
    this.#draw();
    showWorth(this.quotes, answer.receipts ?? this.#receipts);
    this.#note(answer);
    this.#conclude(answer.answer_status);
  }

  // An answer that is nothing but its quotes is not shown twice.
  #onlyQuotes() {
    const bare = (text) => text.replace(/\[\d+\]|["“”\u2060]|\s+/g, "");
    return this.#text !== "" && bare(this.#text) === bare(this.#citations.map((citation) => citation.cited_text).join(""));
  }

  // What to know before the answer is used: contradictions, marks, and the service's own warnings.
  #note({ warnings = [], disagreements = [], unsupported = [], partial, language }) {
    if (language) this.prose.lang = language;
    const notes = disagreements.map(({ citation_ids, values }) => told("turn.disagree", { places: h("span", {}, citation_ids.map((id, place) => [
      place ? ", " : "", ...told("turn.value", { value: bdi(values[place]), id })]).flat()) }));
    if (unsupported.length) notes.push([t("turn.marked", { n: unsupported.length })]);
    if (partial) notes.push([t("turn.partial", { n: partial.missing.length, shards: partial.shards })]);
    notes.push(...warnings.map((text) => [h("span", { lang: "en" }, text)]));
    this.notes.replaceChildren(...notes.map((parts) => h("li", {}, parts)));
    this.notes.hidden = !notes.length;
  }

  #conclude(status) {
    const key = status === "insufficient_evidence" && !this.#citations.length ? "insufficient_evidence_bare" : status;
    const text = has(`verdict.${key}`) ? t(`verdict.${key}`) : "";
    setText(this.verdict, text);
    this.verdict.hidden = !text;
    this.element.classList.add(`is-${status}`);
    if (text && this.#text) { this.#text = ""; this.prose.hidden = true; }
  }

  #spoken() {
    if (!this.verdict.hidden) return this.verdict.textContent;
    return t("turn.spoken", { n: this.#citations.length, text: this.#text || this.#citations.map((c) => c.cited_text).join(" ") });
  }

  // Ends without an answer because the person stopped it.
  stop() {
    this.#unanswered("is-stopped");
    this.#say(t("turn.stopped"));
  }

  // Ends without an answer because of a problem.
  fail(error) {
    this.#unanswered("is-problem");
    announce(showProblem(this.stage, error));
  }

  #unanswered(how) {
    this.#draw();
    this.#end("");
    this.element.classList.add(how);
    this.foot.append(this.#againButton());
    this.foot.hidden = false;
    if (this.#context) this.foot.append(ledgerOf({ context: this.#context }));
  }

  #end(text) {
    this.bar.hidden = true;
    this.#say(text, false);
    this.element.classList.remove("is-running");
    this.element.removeAttribute("aria-busy");
  }

  #footer(answer) {
    const copy = h("button", { type: "button", class: "small", onclick: async () => {
      const copied = await copyText(transcript(this.question, this.#text, this.verdict.hidden ? "" : this.verdict.textContent, this.#citations));
      copy.textContent = t(copied ? "turn.copied" : "turn.not_copied");
      announce(copy.textContent);
      setTimeout(() => { copy.textContent = t("turn.copy"); }, 2500);
    } }, t("turn.copy"));
    if (this.#text || this.#citations.length) this.foot.append(copy);
    const [check, outcome] = replayOf(answer.answer_id);
    const compare = h("button", { type: "button", class: "small", "aria-haspopup": "dialog", onclick: () => this.#does.compare(this.question, answer, compare) }, t("turn.compare"));
    this.foot.append(this.#againButton(), check, compare, outcome, judgementOf(answer));
    if (answer.context) this.foot.append(ledgerOf(answer));
    this.foot.hidden = false;
  }

  #againButton() {
    return h("button", { type: "button", class: "small", onclick: () => this.#does.again(this.question) }, t("turn.again"));
  }

  #say(text, aloud = true) {
    setText(this.stage, text);
    if (aloud) announce(text);
  }
}
