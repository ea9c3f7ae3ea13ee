// The question field, the stream of one question at a time, and the list of this session's answers.

import { Problem, ask, createConversation, within } from "./api.js";
import { byId, setText } from "./dom.js";
import { t } from "./speech.js";
import { Turn } from "./turn.js";

export class Asking {
  #field = byId("question");
  #answers = byId("answers");
  #weigh = byId("ask-weigh");
  #running = null;
  #asked = [];
  #place = 0;
  #scope;
  #cite;
  #compare;
  #talk = 0;
  #held = null;
  #id = "";
  #of = "";

  // `scope()` gives {collection, chosen, ready, total}; `cite(citations, index, opener)` shows a quote; `compare(question, answer,
  // opener)` another answer beside one.
  constructor({ scope, cite, compare }) {
    this.#compare = compare;
    this.#scope = scope;
    this.#cite = cite;
    byId("ask").addEventListener("submit", (event) => { event.preventDefault(); this.#submit(); });
    this.#weigh.checked = localStorage.getItem("longleaf.weigh") === "yes";
    this.#weigh.addEventListener("change", () => localStorage.setItem("longleaf.weigh", this.#weigh.checked ? "yes" : "no"));
    byId("ask-anew").addEventListener("click", () => { this.#anew(); this.describe(); this.#field.focus(); });
    byId("ask-stop").addEventListener("click", () => { this.#running?.abort.abort(); this.#field.focus(); });
    this.#field.addEventListener("keydown", (event) => this.#key(event));
    this.#field.addEventListener("input", () => this.#fit());
    document.addEventListener("keydown", (event) => {
      const typing = event.target.closest?.("input, textarea, select");
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      this.#field.focus();
    });
    this.describe();
  }

  // Says what a question would be asked of.
  describe() {
    const { collection, chosen, ready, total } = this.#scope();
    let text = t("ask.scope", { n: ready, collection });
    if (chosen.length) text = t("ask.scope_chosen", { n: chosen.length });
    else if (!total) text = t("ask.scope_empty");
    else if (!ready) text = t("ask.scope_waiting");
    setText(byId("ask-scope"), text);
    if (this.#of !== collection) this.#anew();
    this.#of = collection;
    byId("ask-talk").hidden = !this.#talk;
    setText(byId("ask-talk-text"), t("ask.follows", { n: this.#talk }));
  }

  #key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      byId("ask").requestSubmit();
    } else if (event.key === "ArrowUp" && this.#field.selectionStart === 0 && this.#asked.length) {
      event.preventDefault();
      this.#recall(-1);
    } else if (event.key === "ArrowDown" && this.#field.selectionStart === this.#field.value.length && this.#asked.length) {
      event.preventDefault();
      this.#recall(1);
    }
  }

  #recall(step) {
    this.#place = Math.min(this.#asked.length, Math.max(0, this.#place + step));
    this.#field.value = this.#asked[this.#place] ?? "";
    this.#fit();
    const end = step < 0 ? 0 : this.#field.value.length;
    this.#field.setSelectionRange(end, end);
  }

  #fit() {
    this.#field.style.height = "auto";
    this.#field.style.height = `${Math.min(this.#field.scrollHeight + 2, 240)}px`;
  }

  #submit() {
    const question = this.#field.value.trim();
    if (!question) return this.#field.focus();
    this.#field.value = "";
    this.#fit();
    return this.start(question);
  }

  // Asks; a question that is still being answered is stopped first.
  async start(question) {
    this.#running?.abort.abort();
    if (this.#asked.at(-1) !== question) this.#asked.push(question);
    this.#place = this.#asked.length;
    const turn = new Turn(question, { again: (text) => this.start(text), cite: this.#cite, compare: this.#compare });
    const run = { abort: new AbortController() };
    this.#running = run;
    this.#answers.prepend(turn.element);
    document.body.classList.add("has-answers");
    this.#busy(true);
    const scope = this.#scope();
    const { collection } = scope;
    const body = { question, ...within(scope) };
    if (this.#weigh.checked) body.receipts = true;
    try {
      body.conversation_id = await this.#conversation(collection);
      for await (const event of ask(body, run.abort.signal)) {
        turn.take(event);
        if (event.type === "done") this.#said(collection);
      }
    } catch (error) {
      if (run.abort.signal.aborted) turn.stop();
      else turn.fail(error);
      if (!(error instanceof Problem) && !run.abort.signal.aborted) throw error;
    } finally {
      if (this.#running === run) {
        this.#running = null;
        this.#busy(false);
      }
    }
  }

  // Shows a conversation that was kept; one's own goes on with the next question.
  show({ id, own, answers }) {
    this.#running?.abort.abort();
    this.#answers.replaceChildren();
    for (const answer of answers) {
      const turn = new Turn(answer.question, { again: (text) => this.start(text), cite: this.#cite, compare: this.#compare });
      turn.restore(answer);
      this.#answers.prepend(turn.element);
    }
    document.body.classList.add("has-answers");
    this.#anew();
    this.#of = this.#scope().collection;
    if (own) this.#hold(id, answers.length);
    this.describe();
    this.#field.focus();
  }

  // Puts the conversation at hand into the page's address, so that it is opened again when the page is loaded anew.
  keep() {
    if (this.#talk && this.#id) history.replaceState(null, "", `#conversation=${this.#id}`);
  }

  // Forgets a conversation that was deleted.
  leave(id) {
    if (id !== this.#id) return;
    this.#answers.replaceChildren();
    this.#anew();
    this.describe();
  }

  #hold(id, turns) {
    this.#held = Promise.resolve(id);
    this.#id = id;
    this.#talk = turns;
  }

  #anew() {
    this.#held = null;
    this.#id = "";
    this.#talk = 0;
  }

  // The id of the conversation that questions are asked in; the first one begins it.
  async #conversation(collection) {
    const held = this.#held ??= createConversation(collection).then(({ id }) => id);
    try {
      const id = await held;
      if (held === this.#held) this.#id = id;
      return id;
    } catch (error) {
      if (held === this.#held) this.#held = null;
      throw error;
    }
  }

  // A question more that the next one can lean on.
  #said(collection) {
    if (collection !== this.#scope().collection || !this.#held) return;
    this.#talk += 1;
    this.describe();
  }

  #busy(busy) {
    const focused = document.activeElement === byId("ask-stop") || document.activeElement === byId("ask-go");
    byId("ask-go").hidden = busy;
    byId("ask-stop").hidden = !busy;
    if (focused) (busy ? byId("ask-stop") : this.#field).focus();
  }
}
