// One question and its answer on the page, from the first event of the stream to the last.

import { announce, bdi, h, setText } from "./dom.js";
import { copyText, transcript } from "./copy.js";
import { ledgerOf } from "./ledger.js";
import { replayOf } from "./replay.js";
import { showWorth } from "./worth.js";
import { VERDICTS, count, moment, pagesLabel, plural, seconds } from "./words.js";

export class Turn {
  #citations = [];
  #text = "";
  #frame = 0;
  #from = performance.now();
  #context = null;
  #receipts = [];
  #does;

  // `does`: {again(question), cite(citations, index, opener)}.
  constructor(question, does) {
    this.question = question;
    this.#does = does;
    this.heading = h("h3", { class: "turn-question", dir: "auto", tabindex: "-1" }, question);
    this.stage = h("p", { class: "turn-stage" }, "Searching the documents");
    this.bar = h("progress", { "aria-label": "Progress of the answer" });
    this.prose = h("div", { class: "turn-answer", dir: "auto", hidden: true });
    this.notes = h("ul", { class: "turn-notes", "aria-label": "Before you use it", hidden: true });
    this.verdict = h("p", { class: "turn-verdict", hidden: true });
    this.quotes = h("ol", { class: "quotes", "aria-label": "Quotes", hidden: true });
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
    if (!documents) return this.#say("Nothing found");
    return this.#say(context.mode === "whole_corpus"
      ? `Everything fits: reading all of ${plural(documents, "document")}`
      : `Found ${plural(context.segments.length, "passage")} in ${plural(documents, "document")}`);
  }

  #reading({ read, total, cached }) {
    this.bar.max = Math.max(1, total);
    this.bar.value = read;
    this.#say(`Reading ${count(read)} of ${plural(total, "token")}${cached ? `, ${count(cached)} remembered` : ""}`, false);
  }

  #cited(citation) {
    this.#citations.push(citation);
    this.quotes.hidden = false;
    this.quotes.append(this.#quote(citation));
    if (this.#text) this.#draw();
  }

  #quote(citation) {
    const where = [pagesLabel(citation.page_number)].filter(Boolean);
    const open = h("button", {
      type: "button", class: "quote-open", "aria-label": `Quote ${citation.id}: show it in ${citation.document_title}`,
      onclick: () => this.#open(citation.id, open),
    }, h("span", { class: "quote-number", "aria-hidden": "true" }, String(citation.id)));
    return h("li", { class: "quote", "data-id": String(citation.id) },
      open,
      h("blockquote", { dir: "auto" }, citation.cited_text),
      h("p", { class: "quote-source" }, bdi(citation.document_title), ...where.map((text) => h("span", {}, text))));
  }

  #open(id, opener) {
    const index = this.#citations.findIndex((citation) => citation.id === id);
    if (index >= 0) this.#does.cite(this.#citations, index, opener);
  }

  #weighed(receipt) {
    this.#say("Weighing the quotes", false);
    this.#receipts.push(receipt);
    showWorth(this.quotes, this.#receipts);
  }

  #wrote(text) {
    if (!this.#text) { this.#say("Writing the answer"); this.bar.removeAttribute("value"); }
    this.#text += text;
    this.#frame ||= requestAnimationFrame(() => this.#draw());
  }

  // Text with its [n] as buttons; only markers of quotes that exist become buttons.
  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    const known = new Set(this.#citations.map((citation) => citation.id));
    const marker = (id) => {
      const button = h("button", { type: "button", class: "marker", "aria-label": `Show quote ${id}`, onclick: () => this.#open(id, button) }, String(id));
      return button;
    };
    const unsupported = () => h("span", { class: "unsupported", role: "img", "aria-label": "No quote supports this sentence", title: "No quote supports this sentence" }, "?");
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
      setText(this.verdict, "A document that was read for this is gone or was replaced, and the answer with it.");
      this.verdict.hidden = false;
    }
    this.#end(moment(answer.created_at));
    this.#footer(answer);
  }

  #done(answer) {
    this.#show(answer);
    this.#end(`Took ${seconds(performance.now() - this.#from)}`);
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
  #note({ warnings = [], disagreements = [], unsupported = [], language }) {
    if (language) this.prose.lang = language;
    const notes = disagreements.map(({ citation_ids, values }) => [
      "The sources disagree: ", ...citation_ids.flatMap((id, place) => [place ? ", " : "", bdi(values[place]), ` in quote ${id}`]), "."]);
    if (unsupported.length) notes.push([`${plural(unsupported.length, "sentence")} marked “?”: no quote supports it.`]);
    notes.push(...warnings.map((text) => [text]));
    this.notes.replaceChildren(...notes.map((parts) => h("li", {}, parts)));
    this.notes.hidden = !notes.length;
  }

  #conclude(status) {
    const key = status === "insufficient_evidence" && !this.#citations.length ? "insufficient_evidence_bare" : status;
    const text = VERDICTS[key] ?? "";
    setText(this.verdict, text);
    this.verdict.hidden = !text;
    this.element.classList.add(`is-${status}`);
    if (text && this.#text) { this.#text = ""; this.prose.hidden = true; }
  }

  #spoken() {
    if (!this.verdict.hidden) return this.verdict.textContent;
    const quotes = plural(this.#citations.length, "quote");
    return this.#text ? `Answered with ${quotes}: ${this.#text}` : `Answered with ${quotes}: ${this.#citations.map((c) => c.cited_text).join(" ")}`;
  }

  // Ends without an answer: stopped by the person, or a problem with what to do.
  fail(text, stopped = false) {
    this.#draw();
    this.#end(text);
    this.element.classList.add(stopped ? "is-stopped" : "is-problem");
    this.foot.append(this.#againButton());
    this.foot.hidden = false;
    if (this.#context) this.foot.append(ledgerOf({ context: this.#context }));
    announce(text);
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
      copy.textContent = copied ? "Copied" : "Copying is not allowed here";
      announce(copy.textContent);
      setTimeout(() => { copy.textContent = "Copy with quotes"; }, 2500);
    } }, "Copy with quotes");
    if (this.#text || this.#citations.length) this.foot.append(copy);
    const [check, outcome] = replayOf(answer.answer_id);
    this.foot.append(this.#againButton(), check, outcome);
    if (answer.context) this.foot.append(ledgerOf(answer));
    this.foot.hidden = false;
  }

  #againButton() {
    return h("button", { type: "button", class: "small", onclick: () => this.#does.again(this.question) }, "Ask again");
  }

  #say(text, aloud = true) {
    setText(this.stage, text);
    if (aloud) announce(text);
  }
}
