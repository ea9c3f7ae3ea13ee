// A passage where it stands: the document's canonical text around it, the quote highlighted.

import { getDocument, getPage, getText, originalOf } from "./api.js";
import { announce, byId, h, setText } from "./dom.js";
import { explained } from "./problems.js";
import { t } from "./speech.js";
import { percent } from "./words.js";

const AROUND = 1500;
const STEP = 4000;
const WIDE = matchMedia("(min-width: 72rem)");

export class Reader {
  #dialog = byId("reader");
  #body = byId("reader-body");
  #opener = null;
  #quotes = [];
  #index = 0;
  #round = 0;
  #view = null;

  constructor() {
    byId("reader-close").addEventListener("click", () => this.close());
    byId("reader-previous").addEventListener("click", () => this.#step(-1));
    byId("reader-next").addEventListener("click", () => this.#step(1));
    this.#dialog.addEventListener("close", () => this.#closed());
    WIDE.addEventListener("change", () => this.#fit());
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.#dialog.open && !event.defaultPrevented) this.close();
    });
  }

  // Shows quote `index` of an answer's citations; focus returns to `opener` on close.
  showQuote(citations, index, opener) {
    this.#quotes = citations;
    this.#index = index;
    this.#begin(opener);
    const { document_id, document_title, page_number, start_char_index, end_char_index } = citations[index];
    return this.#load({ id: document_id, title: document_title, page: page_number, start: start_char_index, end: end_char_index });
  }

  // Shows a document from its beginning.
  showDocument(doc, opener) {
    this.#quotes = [];
    this.#begin(opener);
    return this.#load({ id: doc.id, title: doc.title || doc.filename, page: doc.pages_total ? 1 : null, start: 0, end: 0 });
  }

  close() { this.#dialog.close(); }

  #begin(opener) {
    if (!this.#dialog.contains(opener)) this.#opener = opener;
    if (this.#dialog.open) return;
    this.#show();
    document.body.classList.add("is-reading");
  }

  // Beside the answers where there is room for both, else over them.
  #show() {
    if (WIDE.matches) this.#dialog.show();
    else this.#dialog.showModal();
  }

  #fit() {
    if (!this.#dialog.open) return;
    const top = this.#body.scrollTop;
    this.#dialog.close();
    this.#show();
    this.#body.scrollTop = top;
  }

  #closed() {
    if (this.#dialog.open) return; // closed only to be shown the other way
    this.#round += 1;
    document.body.classList.remove("is-reading");
    this.#body.replaceChildren();
    if (this.#opener?.isConnected) this.#opener.focus();
    else byId("question").focus();
  }

  #step(change) {
    const index = this.#index + change;
    if (index >= 0 && index < this.#quotes.length) this.showQuote(this.#quotes, index, byId("reader-next"));
  }

  #head(target) {
    setText(byId("reader-title").firstChild, target.title);
    byId("reader-original").href = originalOf(target.id);
    byId("reader-steps").hidden = this.#quotes.length < 2;
    byId("reader-previous").disabled = this.#index === 0;
    byId("reader-next").disabled = this.#index >= this.#quotes.length - 1;
    setText(byId("reader-position"), t("reader.position", { n: this.#index + 1, total: this.#quotes.length }));
  }

  async #load(target) {
    const round = ++this.#round;
    this.#head(target);
    setText(byId("reader-where"), t("reader.opening"));
    this.#body.replaceChildren();
    byId("reader-title").focus();
    try {
      const doc = await getDocument(target.id);
      if (round !== this.#round) return;
      this.#view = target.page ? new PagedView(doc, target, this.#body) : new RunningView(doc, target, this.#body);
      await this.#view.open();
      if (round !== this.#round) return;
      setText(byId("reader-where"), this.#view.where());
      const mark = this.#body.querySelector("mark");
      mark?.scrollIntoView({ block: "center" });
      announce(mark ? t("reader.spoken", { where: this.#view.where(), quote: mark.textContent }) : this.#view.where());
    } catch (error) {
      if (round !== this.#round) return;
      byId("reader-where").replaceChildren(...(error.status === 404 ? [t("reader.gone")] : explained(error)));
      announce(byId("reader-where").textContent);
    }
  }
}

// Text from code point `base` on, with what lies in [target.start, target.end) inside <mark>.
function marked(text, base, target) {
  const points = Array.from(text);
  const at = (offset) => Math.min(points.length, Math.max(0, offset - base));
  const [start, end] = [at(target.start), at(target.end)];
  const part = (from, to) => points.slice(from, to).join("");
  return end > start
    ? [part(0, start), h("mark", {}, part(start, end)), part(end, points.length)].filter((piece) => piece !== "")
    : [text];
}

const block = (label, pieces) => h("section", { class: "leaf", "aria-label": label },
  label ? h("h3", { class: "leaf-label" }, label) : null, h("div", { class: "leaf-text", dir: "auto" }, ...pieces));

// A button at the end of the text that adds more of it and keeps what is read where it is.
class View {
  constructor(doc, target, body) {
    Object.assign(this, { doc, target, body });
    this.before = this.#button(t("reader.earlier"), () => this.earlier());
    this.after = this.#button(t("reader.later"), () => this.later());
  }

  #button(label, load) {
    const button = h("button", { type: "button", class: "small leaf-more", onclick: async () => {
      button.disabled = true;
      const height = this.body.scrollHeight;
      const top = this.body.scrollTop;
      try { await load(); } catch (error) { announce(explained(error).map((piece) => piece.textContent ?? piece).join("")); }
      button.disabled = false;
      if (button === this.before) this.body.scrollTop = top + this.body.scrollHeight - height;
      this.edges();
    } }, label);
    return button;
  }
}

class PagedView extends View {
  async open() {
    const first = await getPage(this.doc.id, this.target.page);
    [this.first, this.last] = [this.target.page, this.target.page];
    this.body.replaceChildren(this.before, this.#leaf(first), this.after);
    let end = first.end_char_index;
    while (end < this.target.end && this.last < this.doc.pages_total) end = (await this.later()).end_char_index;
    this.edges();
  }

  #leaf(page) { return block(t("reader.page", { n: page.number }), marked(page.text, page.start_char_index, this.target)); }

  async earlier() {
    const page = await getPage(this.doc.id, this.first - 1);
    this.first -= 1;
    this.before.after(this.#leaf(page));
  }

  async later() {
    const page = await getPage(this.doc.id, this.last + 1);
    this.last += 1;
    this.after.before(this.#leaf(page));
    return page;
  }

  edges() {
    this.before.hidden = this.first <= 1;
    this.after.hidden = this.last >= this.doc.pages_total;
    setText(this.before, t("reader.page", { n: this.first - 1 }));
    setText(this.after, t("reader.page", { n: this.last + 1 }));
  }

  where() { return t("reader.page_of", { n: this.target.page, total: this.doc.pages_total }); }
}

class RunningView extends View {
  async open() {
    this.start = Math.max(0, this.target.start - AROUND);
    this.end = Math.min(this.doc.characters, this.target.end + (this.target.end ? AROUND : STEP));
    const text = await getText(this.doc.id, this.start, this.end);
    this.body.replaceChildren(this.before, block("", marked(text, this.start, this.target)), this.after);
    this.edges();
  }

  get text() { return this.body.querySelector(".leaf-text"); }

  async earlier() {
    const start = Math.max(0, this.start - STEP);
    this.text.prepend(await getText(this.doc.id, start, this.start));
    this.start = start;
  }

  async later() {
    const end = Math.min(this.doc.characters, this.end + STEP);
    this.text.append(await getText(this.doc.id, this.end, end));
    this.end = end;
  }

  edges() {
    this.before.hidden = this.start <= 0;
    this.after.hidden = this.end >= this.doc.characters;
  }

  where() {
    if (this.start === 0 && this.end === this.doc.characters) return t("reader.whole");
    if (!this.target.end) return t("reader.characters", { n: this.doc.characters });
    return t("reader.into", { percent: percent(this.target.start / Math.max(1, this.doc.characters)) });
  }
}
