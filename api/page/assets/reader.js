// A passage where it stands: on its page as it looks, or in the document's text, the quote highlighted.

import { getDocument, originalOf } from "./api.js";
import { announce, byId, setText } from "./dom.js";
import { explained } from "./problems.js";
import { PagedView, RunningView } from "./sheets.js";
import { t } from "./speech.js";

const WIDE = matchMedia("(min-width: 72rem)");

export class Reader {
  #dialog = byId("reader");
  #body = byId("reader-body");
  #larger = byId("reader-larger");
  #opener = null;
  #quotes = [];
  #index = 0;
  #round = 0;
  #view = null;

  constructor() {
    byId("reader-close").addEventListener("click", () => this.close());
    byId("reader-previous").addEventListener("click", () => this.#step(-1));
    byId("reader-next").addEventListener("click", () => this.#step(1));
    this.#larger.addEventListener("click", () => this.#enlarge());
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

  // Pages twice as wide, or as wide as the reader again; what is read stays in sight.
  #enlarge() {
    const large = this.#body.classList.toggle("is-large");
    this.#larger.setAttribute("aria-pressed", large);
    this.#view.fit();
    this.#view.passage()?.scrollIntoView({ block: "center", inline: "start" });
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
      this.#larger.hidden = !this.#view.drawn;
      setText(byId("reader-where"), this.#view.where());
      const mark = this.#body.querySelector("mark");
      announce(mark ? t("reader.spoken", { where: this.#view.where(), quote: mark.textContent }) : this.#view.where());
      await this.#view.pointed;
      if (round === this.#round) this.#view.passage()?.scrollIntoView({ block: "center", inline: "start" });
    } catch (error) {
      if (round !== this.#round) return;
      byId("reader-where").replaceChildren(...(error.status === 404 ? [t("reader.gone")] : explained(error)));
      announce(byId("reader-where").textContent);
    }
  }
}
