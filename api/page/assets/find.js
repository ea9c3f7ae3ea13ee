// Passages that fit what is being typed, before it is asked.

import { search, within } from "./api.js";
import { byId, h, setText } from "./dom.js";
import { t } from "./speech.js";
import { sourceOf } from "./words.js";

const PAUSE_MS = 300;
const SHORTEST = 3;
const MOST = 5;
const SHOWN = 200;
// A server that refuses has other things to do: it is asked again when whoever types has gone on for a while.
const REFUSED_MS = 10_000;

export class Finds {
  #field = byId("question");
  #box = byId("finds");
  #list = byId("finds-list");
  #scope;
  #cite;
  #timer = 0;
  #running = null;
  #quiet = 0;

  // `scope()` gives {collection, chosen, total}; `cite(passages, index, opener)` shows one where it stands.
  constructor({ scope, cite }) {
    this.#scope = scope;
    this.#cite = cite;
    this.#field.addEventListener("input", () => this.#later());
    for (const place of [this.#field, this.#box]) place.addEventListener("keydown", (event) => this.#key(event));
    byId("ask").addEventListener("submit", () => this.clear());
  }

  clear() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    this.#box.hidden = true;
    this.#list.replaceChildren();
    setText(byId("finds-count"), "");
  }

  #key(event) {
    if (event.key !== "Escape" || this.#box.hidden || byId("reader").open) return;
    this.clear();
    this.#field.focus();
  }

  #later() {
    clearTimeout(this.#timer);
    this.#running?.abort();
    const text = this.#field.value.trim();
    if (text.length < SHORTEST || !this.#scope().total) return this.clear();
    this.#timer = setTimeout(() => this.#find(text), PAUSE_MS);
  }

  async #find(text) {
    if (Date.now() < this.#quiet) return;
    const running = this.#running = new AbortController();
    try {
      this.#show(await search({ query: text, ...within(this.#scope()), top_k: MOST }, running.signal));
    } catch {
      if (running.signal.aborted) return;
      this.#quiet = Date.now() + REFUSED_MS;
      this.clear();
    }
  }

  #show(passages) {
    this.#list.replaceChildren(...passages.map((passage, index) => {
      const open = h("button", { type: "button", class: "find", onclick: () => this.#cite(passages, index, open) },
        h("span", { class: "find-text", dir: "auto" }, shortened(passage.text)),
        h("span", { class: "find-source source" }, ...sourceOf(passage)));
      return h("li", {}, open);
    }));
    setText(byId("finds-count"), passages.length ? t("ask.finds", { n: passages.length }) : "");
    this.#box.hidden = !passages.length;
  }
}

function shortened(text) {
  const line = text.trim().replace(/\s+/g, " ");
  return line.length > SHOWN ? `${line.slice(0, SHOWN).replace(/\s+\S*$/, "")} …` : line;
}
