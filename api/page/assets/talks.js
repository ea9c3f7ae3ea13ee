// The conversations that were kept: opened again, renamed, shared by a link, exported, deleted.

import { changeConversation, deleteConversation, exportOf, getConversation, listConversations } from "./api.js";
import { copyText } from "./copy.js";
import { announce, bdi, byId, h, setText } from "./dom.js";
import { showProblem } from "./problems.js";
import { t } from "./speech.js";
import { moment } from "./words.js";

const LINK = /^#conversation=(cnv_\w+)$/;

export class Talks {
  #dialog = byId("talks");
  #list = byId("talks-list");
  #more = byId("talks-more");
  #cursor = null;
  #onOpen;
  #onGone;

  // `onOpen(conversation)` to show one with its answers; `onGone(id)` once one is deleted.
  constructor({ onOpen, onGone }) {
    this.#onOpen = onOpen;
    this.#onGone = onGone;
    byId("talks-open").addEventListener("click", () => this.show());
    byId("talks-close").addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => byId("talks-open").focus());
    this.#more.addEventListener("click", () => this.#load());
    addEventListener("hashchange", () => this.followLink());
  }

  // Opens the conversation that the page's address names, if it names one.
  followLink() {
    const id = location.hash.match(LINK)?.[1];
    if (id) this.#open(id).catch((error) => showProblem(byId("notice"), error));
  }

  show() {
    this.#list.replaceChildren();
    this.#cursor = null;
    this.#say("");
    this.#dialog.showModal();
    byId("talks-title").focus();
    return this.#load();
  }

  async #load() {
    try {
      const { conversations, next_cursor: next } = await listConversations(this.#cursor);
      const before = this.#list.children.length;
      this.#list.append(...conversations.map((talk) => this.#row(talk)));
      this.#cursor = next;
      this.#more.hidden = !next;
      if (!this.#list.children.length) this.#say(t("talks.none"));
      else if (before) this.#list.children[before]?.querySelector("button").focus();
    } catch (error) {
      showProblem(byId("talks-status"), error);
    }
  }

  async #open(id) {
    const talk = await getConversation(id);
    if (this.#dialog.open) this.#dialog.close();
    this.#onOpen(talk);
    announce(t("talks.opened", { name: talk.title || t("talks.untitled") }));
  }

  #row(talk) {
    const name = () => talk.title || t("talks.untitled");
    const title = h("button", { type: "button", class: "doc-title", onclick: () => this.#tried(() => this.#open(talk.id)) }, bdi(name()));
    const state = h("p", { class: "doc-state" });
    const button = (text, label, onclick) => h("button", { type: "button", class: "small", "aria-label": label, onclick: () => this.#tried(onclick) }, text);
    const share = button("", "", async () => {
      talk = await changeConversation(talk.id, { shared: !talk.shared });
      if (talk.shared) {
        const link = `${location.origin}${location.pathname}#conversation=${talk.id}`;
        this.#say(await copyText(link) ? t("talks.copied") : t("talks.link", { link }));
      } else this.#say(t("talks.alone"));
      describe();
    });
    const remove = button(t("talks.delete"), t("talks.delete_one", { name: name() }), async () => {
      if (!remove.classList.contains("danger")) {
        setText(remove, t("talks.really"));
        remove.classList.add("danger");
        remove.ariaLabel = t("talks.really_one", { name: name() });
        return;
      }
      await deleteConversation(talk.id);
      row.remove();
      this.#onGone(talk.id);
      this.#say(t("talks.deleted"));
      byId("talks-title").focus();
    });
    const describe = () => {
      setText(title.firstChild, name());
      setText(state, [t("unit.questions", { n: talk.turns }), talk.collection, moment(talk.updated_at), talk.shared ? t("talks.shared") : null].filter(Boolean).join(" · "));
      setText(share, t(talk.shared ? "talks.unshare" : "talks.share"));
      share.ariaLabel = t(talk.shared ? "talks.unshare_one" : "talks.share_one", { name: name() });
    };
    const rename = button(t("talks.rename"), t("talks.rename_one", { name: name() }), () => {
      const field = h("input", { type: "text", maxlength: 200, value: talk.title, "aria-label": t("talks.title"), autocomplete: "off" });
      const form = h("form", { class: "collection-row", onsubmit: (event) => { event.preventDefault(); save(field.value.trim()); } }, field, h("button", { type: "submit", class: "small" }, t("talks.save")));
      const close = () => { form.replaceWith(title); rename.focus(); };
      const save = (text) => this.#tried(async () => {
        if (text) talk = await changeConversation(talk.id, { title: text });
        describe();
        close();
      });
      field.addEventListener("keydown", (event) => { if (event.key === "Escape") { event.preventDefault(); event.stopPropagation(); close(); } });
      if (!title.isConnected) return;
      title.replaceWith(form);
      field.focus();
    });
    const save = h("a", { class: "fine", href: exportOf(talk.id), download: "", "aria-label": t("talks.export_one", { name: name() }) }, t("talks.export"));
    const row = h("li", { class: "talk" }, title, state, h("div", { class: "talk-does" }, rename, share, save, remove));
    describe();
    return row;
  }

  async #tried(work) {
    try {
      await work();
    } catch (error) {
      showProblem(byId("talks-status"), error);
    }
  }

  #say(text) {
    byId("talks-status").hidden = false;
    setText(byId("talks-status"), text);
  }
}
