// What the reader shows of a document: its pages as they look, with their text below, or its text alone.

import { getBoxes, getPage, getText, pictureOf } from "./api.js";
import { SVG, announce, h, setText } from "./dom.js";
import { explained } from "./problems.js";
import { t } from "./speech.js";
import { percent } from "./words.js";

const AROUND = 1500;
const STEP = 4000;
const DRAWN = /^application\/pdf$|^image\//;
const WIDTHS = [800, 1200, 1600, 2400]; // few, so that a browser that keeps a picture finds it again

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

// Buttons at both ends of the text that add more of it and keep what is read where it is. `pointed` resolves once the passage is
// highlighted wherever it is shown.
class View {
  pointed = Promise.resolve();


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

// A page as it looks; `placed(boxes, page)` highlights on it. Where it can't be drawn, `failed` is called.
class Sheet {
  constructor(doc, number, failed) {
    this.source = (width) => pictureOf(doc.id, number, width);
    this.marks = document.createElementNS(SVG, "svg");
    this.marks.setAttribute("viewBox", "0 0 1 1");
    this.marks.setAttribute("preserveAspectRatio", "none");
    this.marks.setAttribute("aria-hidden", "true");
    this.image = h("img", { alt: t("reader.picture", { n: number }), width: 210, height: 297, decoding: "async" });
    this.image.addEventListener("load", () => this.#sized(this.image.naturalWidth, this.image.naturalHeight));
    this.image.addEventListener("error", () => { this.element.remove(); failed(); });
    this.element = h("div", { class: "sheet" }, this.image, this.marks);
  }

  // Fetches the picture that is sharp at the width at which it is shown.
  fit() {
    if (!this.element.isConnected) return;
    const shown = this.element.clientWidth * devicePixelRatio;
    const source = this.source(WIDTHS.find((each) => each >= shown) ?? WIDTHS.at(-1));
    if (this.image.getAttribute("src") !== source) this.image.src = source;
  }

  #sized(width, height) { Object.assign(this.image, { width, height }); }

  placed({ width, height, boxes }) {
    if (!this.image.complete) this.#sized(width, height);
    this.marks.replaceChildren(...boxes.map(({ left, top, right, bottom }) => {
      const rect = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) rect.setAttribute(name, value);
      return rect;
    }));
  }
}

// Pages one below the other: each as a picture and, on demand, its text; the text alone where there is no picture.
export class PagedView extends View {
  async open() {
    const first = await getPage(this.doc.id, this.target.page);
    [this.first, this.last] = [this.target.page, this.target.page];
    this.body.replaceChildren(this.before, this.#leaf(first), this.after);
    this.fit();
    const found = [this.#point(first)];
    let end = first.end_char_index;
    while (end < this.target.end && this.last < this.doc.pages_total) {
      const page = await this.later();
      found.push(this.#point(page));
      end = page.end_char_index;
    }
    this.edges();
    this.pointed = Promise.all(found); // on a scan that takes seconds
  }

  get drawn() { return DRAWN.test(this.doc.media_type); }

  fit() { for (const leaf of this.body.querySelectorAll(".leaf")) leaf.sheet?.fit(); }

  passage() { return this.body.querySelector("rect") ?? this.body.querySelector("mark"); }

  #leaf(page) {
    const pieces = marked(page.text, page.start_char_index, this.target);
    const leaf = block(t("reader.page", { n: page.number }), pieces);
    if (!this.drawn) return leaf;
    const words = h("details", { class: "leaf-words" }, h("summary", {}, t("reader.words")), leaf.lastChild);
    leaf.sheet = new Sheet(this.doc, page.number, () => { words.open = true; });
    leaf.id = `leaf-${page.number}`;
    leaf.append(leaf.sheet.element, words);
    return leaf;
  }

  // Highlights the passage on the page's picture; where it can't be found there, the text is opened.
  async #point(page) {
    const leaf = this.body.querySelector(`#leaf-${page.number}`);
    const { start, end } = this.target;
    if (!leaf || end <= Math.max(start, page.start_char_index)) return;
    const found = await getBoxes(this.doc.id, page.number, start, end).catch(() => ({ boxes: [] }));
    if (found.boxes.length) leaf.sheet.placed(found);
    else {
      leaf.lastChild.open = true;
      leaf.lastChild.before(h("p", { class: "fine" }, t("reader.unplaced")));
    }
  }

  async earlier() {
    const page = await getPage(this.doc.id, this.first - 1);
    this.first -= 1;
    this.before.after(this.#leaf(page));
    this.fit();
  }

  async later() {
    const page = await getPage(this.doc.id, this.last + 1);
    this.last += 1;
    this.after.before(this.#leaf(page));
    this.fit();
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

export class RunningView extends View {
  async open() {
    this.start = Math.max(0, this.target.start - AROUND);
    this.end = Math.min(this.doc.characters, this.target.end + (this.target.end ? AROUND : STEP));
    const text = await getText(this.doc.id, this.start, this.end);
    this.body.replaceChildren(this.before, block("", marked(text, this.start, this.target)), this.after);
    this.edges();
  }

  drawn = false;

  fit() {}

  passage() { return this.body.querySelector("mark"); }

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
