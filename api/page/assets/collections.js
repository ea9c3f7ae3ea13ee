// Which collection is looked at, and making a new one.

import { Problem, createCollection, listCollections } from "./api.js";
import { announce, byId, h } from "./dom.js";

const REMEMBERED = "longleaf.collection";

export class Collections {
  #select = byId("collection");
  #form = byId("collection-form");
  #opener = byId("collection-new");
  #error = byId("collection-error");
  #onChange;

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
    const names = (await listCollections()).map(({ name }) => name);
    const before = this.current;
    this.#select.replaceChildren(...names.map((name) => h("option", { value: name }, name)));
    this.#select.value = names.includes(wanted) ? wanted : "default";
    if (this.current !== before) this.#onChange(this.current);
  }

  #remembered() {
    try { return localStorage.getItem(REMEMBERED) ?? this.current; } catch { return this.current; }
  }

  #chosen() {
    try { localStorage.setItem(REMEMBERED, this.current); } catch { /* private mode: not remembered */ }
    this.#onChange(this.current);
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
      announce(`Collection ${name} created and chosen`);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      this.#error.textContent = error.message;
      this.#error.hidden = false;
      field.focus();
    }
  }
}
