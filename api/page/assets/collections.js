// Which collection is looked at, and making a new one.

import { createCollection, listCollections } from "./api.js";
import { announce, byId, h, setText } from "./dom.js";
import { showProblem } from "./problems.js";
import { t } from "./speech.js";

const REMEMBERED = "longleaf.collection";
const BUSY_MS = 2000;
const IDLE_MS = 15000;

export class Collections {
  #select = byId("collection");
  #form = byId("collection-form");
  #opener = byId("collection-new");
  #error = byId("collection-error");
  #onChange;
  #all = [];
  #timer = 0;

  constructor(onChange) {
    this.#onChange = onChange;
    this.#select.append(h("option", { value: "default" }, "default"));
    this.#select.addEventListener("change", () => this.#chosen());
    this.#opener.addEventListener("click", () => this.#show(this.#form.hidden));
    this.#form.addEventListener("submit", (event) => { event.preventDefault(); this.#create(); });
    this.#form.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { event.stopPropagation(); this.#show(false); }
    });
  }

  get current() { return this.#select.value; }

  async load(wanted = this.#remembered()) {
    clearTimeout(this.#timer);
    this.#all = await listCollections();
    const names = this.#all.map(({ name }) => name);
    const before = this.current;
    this.#select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    this.#select.value = names.includes(wanted) ? wanted : "default";
    this.#describe();
    if (this.current !== before) this.#onChange(this.current);
  }

  // Whether vectors of another model are being built, and how far they are; looked at again for as long as they are.
  #describe() {
    const coming = this.#all.find(({ name }) => name === this.current)?.reembedding;
    byId("collection-coming").hidden = !coming;
    if (coming) {
      const { chunks_done: done, chunks_total: total, embedder } = coming;
      setText(byId("collection-coming-text"), t("collections.coming", { done, total }));
      byId("collection-coming-text").title = embedder;
      Object.assign(byId("collection-coming-bar"), { max: Math.max(1, total), value: done });
    }
    clearTimeout(this.#timer);
    const again = () => (document.hidden ? this.#describe() : this.load(this.current).catch(() => this.#describe()));
    this.#timer = setTimeout(again, coming ? BUSY_MS : IDLE_MS);
  }

  #remembered() {
    try { return localStorage.getItem(REMEMBERED) ?? this.current; } catch { return this.current; }
  }

  #chosen() {
    try { localStorage.setItem(REMEMBERED, this.current); } catch { /* private mode: not remembered */ }
    this.#describe();
    this.#onChange(this.current);
  }

  // Looks at another collection; one that is not there is not looked at.
  choose(name) {
    if (name === this.current || !this.#all.some((each) => each.name === name)) return;
    this.#select.value = name;
    this.#chosen();
  }

  #show(open) {
    this.#form.hidden = !open;
    this.#error.hidden = true;
    this.#opener.setAttribute("aria-expanded", String(open));
    if (open) byId("collection-name").focus();
    else this.#opener.focus();
  }

  async #create() {
    const field = byId("collection-name");
    const name = field.value.trim();
    if (!name) return;
    try {
      const made = await createCollection(name);
      await this.load(made.name ?? name);
      this.#chosen();
      field.value = "";
      this.#show(false);
      announce(t("collections.created", { name }));
    } catch (error) {
      showProblem(this.#error, error);
      field.focus();
    }
  }
}
