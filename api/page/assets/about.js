// What is known of one document: its versions, another file for it, its metadata.

import { changeMetadata, listVersions, replaceFile } from "./api.js";
import { announce, bdi, byId, h, iconButton, setText } from "./dom.js";
import { explained, showProblem } from "./problems.js";
import { t } from "./speech.js";
import { bytes, isBusy, moment, percent, stateLine } from "./words.js";

export class About {
  #dialog = byId("about");
  #versions = byId("about-versions");
  #rows = byId("about-rows");
  #doc = null;
  #opener = null;
  #onChange;
  #abort = null;

  // `onChange()` after something of the document was changed here.
  constructor({ onChange }) {
    this.#onChange = onChange;
    byId("about-close").addEventListener("click", () => this.#dialog.close());
    byId("about-replace").addEventListener("click", () => byId("about-file").click());
    byId("about-file").addEventListener("change", () => this.#replace());
    byId("about-add").addEventListener("click", () => this.#add("", "").querySelector("input").focus());
    byId("about-form").addEventListener("submit", (event) => { event.preventDefault(); this.#save(); });
    this.#dialog.addEventListener("close", () => this.#closed());
  }

  show(doc, opener) {
    this.#opener = opener;
    this.#doc = doc;
    this.#say("");
    this.#complain(null);
    this.#versions.replaceChildren();
    this.#fill();
    this.#dialog.showModal();
    byId("about-title").focus();
    return this.#load();
  }

  // Takes in what the list learned of the document; what is being edited stays.
  follow(docs) {
    if (!this.#dialog.open) return;
    const now = docs.get(this.#doc.id);
    if (!now) return this.#dialog.close();
    if (now.updated_at === this.#doc.updated_at && JSON.stringify(now.updating) === JSON.stringify(this.#doc.updating)) return;
    this.#doc = now;
    this.#load();
  }

  #closed() {
    this.#abort?.abort();
    if (this.#opener?.isConnected) this.#opener.focus();
    else byId("question").focus();
  }

  async #load() {
    setText(byId("about-title").firstChild, this.#doc.title || this.#doc.filename);
    const id = this.#doc.id;
    try {
      const versions = await listVersions(id);
      if (id === this.#doc.id) this.#versions.replaceChildren(...versions.map((version) => this.#version(version)));
    } catch (error) {
      showProblem(byId("about-status"), error);
    }
  }

  #version(version) {
    const answers = version.generation === this.#doc.generation;
    const state = answers ? t("about.answers") : version.status === "superseded" ? t("about.replaced") : stateLine(version);
    const facts = [bytes(version.bytes), version.pages_total ? t("unit.pages", { n: version.pages_total }) : null, moment(version.created_at)];
    return h("li", { value: version.generation, class: answers ? "is-live" : null },
      bdi(version.filename), h("span", { class: "fine" }, ` ${state} · ${facts.filter(Boolean).join(" · ")}`),
      version.error ? h("p", { class: "problem" }, explained(version.error)) : null);
  }

  async #replace() {
    const [file] = byId("about-file").files;
    byId("about-file").value = "";
    if (!file) return;
    const [id, abort] = [this.#doc.id, new AbortController()];
    this.#abort = abort;
    byId("about-replace").disabled = true;
    try {
      const { unchanged } = await replaceFile(id, file, {
        signal: abort.signal,
        progress: (fraction) => this.#say(fraction < 1 ? t("uploads.sending_part", { percent: percent(fraction) }) : t("uploads.checked")),
      });
      this.#say(t(unchanged ? "about.unchanged" : "about.coming"));
      this.#onChange();
      if (id === this.#doc.id) await this.#load();
    } catch (error) {
      if (error.name !== "AbortError") showProblem(byId("about-status"), error);
    } finally {
      byId("about-replace").disabled = false;
    }
  }

  #fill() {
    this.#rows.replaceChildren();
    for (const [name, value] of Object.entries(this.#doc.metadata)) this.#add(name, shown(value));
  }

  #add(name, value) {
    const row = h("div", { class: "pair" },
      h("input", { type: "text", value: name, maxlength: 200, autocomplete: "off", "aria-label": t("about.name") }),
      h("input", { type: "text", value, autocomplete: "off", "aria-label": name ? t("about.value_of", { name }) : t("about.value"), dir: "auto" }),
      iconButton("close", name ? t("about.remove", { name }) : t("about.remove_line"), () => { row.remove(); byId("about-add").focus(); }));
    this.#rows.append(row);
    return row;
  }

  async #save() {
    const wanted = new Map();
    for (const row of this.#rows.children) {
      const [name, value] = [...row.querySelectorAll("input")].map((input) => input.value.trim());
      if (name) wanted.set(name, meant(value));
    }
    const before = this.#doc.metadata;
    const patch = Object.fromEntries(Object.keys(before).filter((name) => !wanted.has(name)).map((name) => [name, null]));
    for (const [name, value] of wanted) {
      if (JSON.stringify(before[name]) === JSON.stringify(value)) continue;
      // objects are merged, so what an edited one no longer has is named
      const gone = isObject(before[name]) && isObject(value) ? Object.keys(before[name]).filter((key) => !(key in value)) : [];
      patch[name] = gone.length ? { ...value, ...Object.fromEntries(gone.map((key) => [key, null])) } : value;
    }
    try {
      this.#doc = await changeMetadata(this.#doc.id, patch);
      this.#complain(null);
      this.#fill();
      this.#load();
      this.#say(t("about.saved"));
      this.#onChange();
    } catch (error) {
      this.#complain(error);
    }
  }

  #say(text) {
    byId("about-status").hidden = false;
    setText(byId("about-status"), text);
  }

  #complain(error) {
    const text = showProblem(byId("about-problem"), error);
    if (text) announce(text);
  }
}

const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

// What a value's line means: JSON where it is some, else the text itself.
function meant(text) {
  try { return JSON.parse(text); } catch { return text; }
}
// The line of a value, which `meant` turns into the same value again.
const shown = (value) => (typeof value === "string" && meant(value) === value ? value : JSON.stringify(value));
