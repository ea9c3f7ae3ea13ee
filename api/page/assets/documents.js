// The list of documents: states that move, what went wrong, retry, cancel, delete, choose, open.

import { cancelDocument, deleteDocument, listDocuments, retryDocument } from "./api.js";
import { announce, bdi, byId, h, iconButton, setText } from "./dom.js";
import { explained, remedyFor, showProblem } from "./problems.js";
import { t } from "./speech.js";
import { FINAL, isBusy, newerLine, progressOf, stateLine } from "./words.js";

const BUSY_MS = 700;
const IDLE_MS = 10000;

export class Documents {
  #list = byId("docs");
  #rows = new Map();
  #chosen = new Set();
  #cursor = null;
  #shown = 100;
  #timer = 0;
  #round = 0;
  #collection;
  #onChange;
  #onOpen;
  #onAbout;

  // `onChange(documents)` whenever they or the choice change; `onOpen(document, opener)` to show one, `onAbout` likewise.
  constructor({ collection, onChange, onOpen, onAbout }) {
    this.#onAbout = onAbout;
    this.#collection = collection;
    this.#onChange = onChange;
    this.#onOpen = onOpen;
    byId("docs-more").addEventListener("click", () => { this.#shown += 100; this.refresh(); });
    byId("docs-clear").addEventListener("click", () => { this.#choose([]); byId("question").focus(); });
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.refresh(); });
  }

  get total() { return this.#rows.size; }
  get more() { return this.#cursor !== null; }
  get ready() { return [...this.#rows.values()].filter((row) => row.doc.status === "ready").length; }
  get chosen() { return [...this.#chosen]; }

  // Forgets what is shown, for another collection.
  reset() {
    for (const row of this.#rows.values()) row.element.remove();
    this.#rows.clear();
    this.#shown = 100;
    this.#choose([]);
    return this.refresh();
  }

  async refresh() {
    clearTimeout(this.#timer);
    const round = ++this.#round;
    try {
      const docs = await this.#fetch();
      if (round === this.#round) this.#show(docs);
    } catch {
      // The readiness notice says it; the next round tries again.
    }
    if (round !== this.#round) return;
    const busy = [...this.#rows.values()].some((row) => isBusy(row.doc));
    if (!document.hidden) this.#timer = setTimeout(() => this.refresh(), busy ? BUSY_MS : IDLE_MS);
  }

  async #fetch() {
    const collection = this.#collection();
    const docs = [];
    let cursor = null;
    do {
      const page = await listDocuments(collection, { cursor });
      docs.push(...page.documents);
      cursor = page.next_cursor;
    } while (cursor && docs.length < this.#shown);
    this.#cursor = cursor;
    return docs;
  }

  #show(docs) {
    const alive = new Set(docs.map((doc) => doc.id));
    for (const id of [...this.#rows.keys()]) if (!alive.has(id)) this.#forget(id);
    docs.forEach((doc, place) => {
      const row = this.#rows.get(doc.id) ?? this.#add(doc);
      row.update(doc);
      if (this.#list.children[place] !== row.element) this.#list.insertBefore(row.element, this.#list.children[place] ?? null);
    });
    byId("docs-more").hidden = !this.more;
    this.#changed();
  }

  #add(doc) {
    const row = new Row(doc, {
      open: (opener) => this.#onOpen(row.doc, opener),
      choose: () => this.#choose(row.chosen ? [...this.#chosen, doc.id] : this.chosen.filter((id) => id !== doc.id)),
      about: (opener) => this.#onAbout(row.doc, opener),
      act: (action) => this.#act(action, row),
      remove: () => this.#remove(row),
    });
    this.#rows.set(doc.id, row);
    return row;
  }

  async #act(action, row) {
    try {
      row.update(await action(row.doc.id));
    } catch (error) {
      row.complain(error);
    }
    this.refresh();
  }

  async #remove(row) {
    const next = row.element.nextElementSibling ?? row.element.previousElementSibling;
    try {
      await deleteDocument(row.doc.id);
    } catch (error) {
      if (error.status !== 404) return row.complain(error);
    }
    this.#round += 1;
    this.#forget(row.doc.id);
    announce(t("documents.deleted", { name: row.doc.title }));
    (next?.querySelector("button") ?? byId("pick-files")).focus();
    this.#changed();
    return this.refresh();
  }

  #forget(id) {
    this.#rows.get(id)?.element.remove();
    this.#rows.delete(id);
    this.#chosen.delete(id);
  }

  #choose(ids) {
    this.#chosen = new Set(ids);
    for (const [id, row] of this.#rows) row.chosen = this.#chosen.has(id);
    this.#changed();
  }

  #changed() {
    const some = this.#chosen.size;
    setText(byId("docs-count"), some ? t("documents.chosen", { n: some }) : t(this.more ? "documents.shown" : "unit.documents", { n: this.total }));
    byId("docs-count").hidden = !this.total;
    byId("docs-clear").hidden = !some;
    this.#onChange(new Map([...this.#rows].map(([id, row]) => [id, row.doc])));
  }

  // Brings a document into view, e.g. the one that a duplicate was refused for.
  async reveal(id) {
    await this.refresh();
    const row = this.#rows.get(id);
    if (!row) return announce(t("documents.further"));
    row.element.scrollIntoView({ block: "nearest" });
    row.focus();
    return undefined;
  }
}

class Row {
  #said = "";
  #shape = "";
  #generation = 0;

  constructor(doc, does) {
    this.doc = doc;
    this.does = does;
    this.box = h("input", { type: "checkbox", onchange: () => does.choose() });
    this.title = h("button", { type: "button", class: "doc-title", onclick: () => does.open(this.title) }, bdi(""));
    this.state = h("p", { class: "doc-state" });
    this.bar = h("progress", { hidden: true });
    this.newer = h("p", { class: "doc-newer", hidden: true });
    this.detail = h("p", { class: "doc-detail", dir: "auto", hidden: true });
    this.actions = h("div", { class: "doc-actions" });
    this.about = iconButton("more", "", () => does.about(this.about));
    this.element = h("li", { class: "doc" }, this.box, h("div", { class: "doc-main" }, this.title, this.state, this.newer, this.bar, this.detail), this.actions);
  }

  get chosen() { return this.box.checked; }
  set chosen(value) { this.box.checked = value; }
  focus() { (this.title.disabled ? this.actions.querySelector("button") : this.title)?.focus(); }

  update(doc) {
    this.doc = doc;
    const name = doc.title || doc.filename;
    setText(this.title.firstChild, name);
    this.about.title = t("documents.about", { name });
    this.about.setAttribute("aria-label", this.about.title);
    this.title.title = doc.metadata?.path || doc.filename;
    this.title.disabled = doc.status !== "ready";
    this.box.disabled = doc.status !== "ready";
    this.box.setAttribute("aria-label", t("documents.only", { name }));
    this.element.className = `doc is-${doc.status}`;
    setText(this.state, stateLine(doc));
    const newer = newerLine(doc);
    this.newer.hidden = !newer;
    this.newer.classList.toggle("is-alarm", doc.updating?.status === "failed");
    setText(this.newer, newer ?? "");
    this.#bar(doc, name);
    if (doc.status === "failed") this.#failure(doc.error);
    else this.detail.hidden = true;
    this.#actions(doc, name);
    if (this.#generation && doc.generation > this.#generation) announce(t("documents.renewed", { name }));
    this.#generation = doc.generation;
    if (this.#said && this.#said !== doc.status && FINAL.has(doc.status)) announce(doc.status === "ready" ? t("documents.ready", { name }) : t("documents.said", { name, state: this.state.textContent }));
    this.#said = doc.status;
  }

  #bar(doc, name) {
    const progress = progressOf(FINAL.has(doc.status) && doc.updating ? doc.updating : doc);
    this.bar.hidden = !isBusy(doc);
    this.bar.setAttribute("aria-label", t("documents.said", { name, state: (this.newer.hidden ? this.state : this.newer).textContent }));
    if (progress) [this.bar.value, this.bar.max] = progress;
    else this.bar.removeAttribute("value");
  }

  #failure(error) {
    setText(this.state, remedyFor(error?.code) ?? t("state.failed"));
    setText(this.detail, error?.detail ?? "");
    this.detail.lang = "en";
    this.detail.hidden = !error?.detail;
  }

  // Buttons are replaced only when the state asks for others, so that focus stays where it is.
  #actions(doc, name) {
    const status = (doc.updating ?? doc).status;
    const shape = FINAL.has(status) ? `${doc.status} ${status}` : "busy";
    if (shape === this.#shape) return;
    const focused = this.actions.contains(document.activeElement);
    this.#shape = shape;
    const buttons = [];
    if (shape === "busy") buttons.push(iconButton("close", t("documents.cancel", { name }), () => this.does.act(cancelDocument)));
    else if (status !== "ready") buttons.push(iconButton("retry", t("documents.retry", { name }), () => this.does.act(retryDocument)));
    buttons.push(this.about);
    if (shape !== "busy") buttons.push(iconButton("bin", t("documents.delete", { name }), () => this.#confirm(name)));
    this.actions.replaceChildren(...buttons);
    if (focused) this.focus();
  }

  #confirm(name) {
    const keep = (focus) => { this.#shape = ""; this.#actions(this.doc, name); if (focus) this.actions.lastElementChild.focus(); };
    const yes = h("button", { type: "button", class: "small danger", "aria-label": t("documents.delete_really", { name }), onclick: () => { yes.disabled = true; this.does.remove(); } }, t("documents.delete_short"));
    const no = h("button", { type: "button", class: "small", "aria-label": t("documents.keep", { name }), onclick: () => keep(true) }, t("documents.keep_short"));
    this.actions.replaceChildren(yes, no);
    this.actions.onkeydown = (event) => { if (event.key === "Escape" && no.isConnected) { event.stopPropagation(); keep(true); } };
    no.focus();
  }

  complain(error) {
    this.#shape = "";
    this.#actions(this.doc, this.doc.title);
    this.detail.removeAttribute("lang");
    announce(showProblem(this.detail, error));
  }
}
