// Files on their way to the server: dropped, chosen, sent two at a time, each with its own line.

import { uploadFile } from "./api.js";
import { announce, bdi, byId, h, iconButton, setText } from "./dom.js";
import { showProblem } from "./problems.js";
import { t } from "./speech.js";
import { percent } from "./words.js";

const AT_ONCE = 2;

// Files of a drop, folders walked through: [{file, path}]. Hidden files (.DS_Store and the like) are left out.
export async function filesOfDrop(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files];
  if (!entries.length) return plain.map((file) => ({ file, path: "" }));
  const found = [];
  const walk = async (entry) => {
    if (entry.name.startsWith(".")) return;
    if (entry.isFile) {
      const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
      const path = entry.fullPath.replace(/^\//, "");
      found.push({ file, path: path.includes("/") ? path : "" });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return;
      for (const child of some) await walk(child);
    }
  };
  for (const entry of entries) await walk(entry);
  return found;
}

export class Uploads {
  #list = byId("uploads");
  #waiting = [];
  #running = 0;
  #collection;
  #onAccepted;
  #onDuplicate;

  // `collection()` names the target; `onAccepted()` after each file; `onDuplicate(id)` points at the one that is there.
  constructor({ collection, onAccepted, onDuplicate }) {
    this.#collection = collection;
    this.#onAccepted = onAccepted;
    this.#onDuplicate = onDuplicate;
    for (const [button, input] of [["pick-files", "files"], ["pick-folder", "folder"]]) {
      byId(button).addEventListener("click", () => byId(input).click());
      byId(input).addEventListener("change", () => {
        const chosen = [...byId(input).files].filter((file) => !file.name.startsWith("."));
        this.add(chosen.map((file) => ({ file, path: file.webkitRelativePath ?? "" })));
        byId(input).value = "";
      });
    }
    this.#listenForDrops();
    addEventListener("beforeunload", (event) => { if (this.#running || this.#waiting.length) event.preventDefault(); });
  }

  add(items) {
    if (!items.length) return;
    announce(t("uploads.adding", { n: items.length }));
    for (const item of items) this.#waiting.push(this.#row({ ...item, collection: this.#collection() }));
    this.#next();
  }

  #listenForDrops() {
    const veil = byId("veil");
    const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
    let depth = 0;
    const over = (change) => {
      depth = change === 0 ? 0 : Math.max(0, depth + change);
      veil.hidden = depth === 0;
    };
    addEventListener("dragenter", (event) => { if (hasFiles(event)) over(1); });
    addEventListener("dragleave", (event) => { if (hasFiles(event)) over(-1); });
    addEventListener("dragover", (event) => { if (hasFiles(event)) event.preventDefault(); });
    addEventListener("drop", async (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      over(0);
      this.add(await filesOfDrop(event.dataTransfer));
    });
  }

  #row(item) {
    const abort = new AbortController();
    const state = h("p", { class: "doc-state" }, t("uploads.waiting"));
    const bar = h("progress", { max: 1, value: 0, "aria-label": t("uploads.sending_file", { name: item.file.name }) });
    const actions = h("div", { class: "doc-actions" }, iconButton("close", t("uploads.cancel", { name: item.file.name }), () => abort.abort()));
    const row = h("li", { class: "doc" }, h("div", { class: "doc-main" }, h("p", { class: "doc-title" }, bdi(item.file.name)), state, bar), actions);
    const upload = { ...item, abort, row, state, bar, actions, started: false };
    abort.signal.addEventListener("abort", () => { if (!upload.started) this.#drop(upload); });
    this.#list.append(row);
    this.#list.hidden = false;
    return upload;
  }

  #drop(upload) {
    const focused = upload.row.contains(document.activeElement);
    upload.row.remove();
    this.#list.hidden = !this.#list.childElementCount;
    if (focused) byId("pick-files").focus();
  }

  #next() {
    while (this.#running < AT_ONCE && this.#waiting.length) {
      const upload = this.#waiting.shift();
      if (!upload.abort.signal.aborted) this.#send(upload);
    }
  }

  async #send(upload) {
    this.#running += 1;
    upload.started = true;
    setText(upload.state, t("uploads.sending"));
    try {
      await uploadFile(upload.file, {
        collection: upload.collection,
        metadata: upload.path ? { path: upload.path } : null,
        signal: upload.abort.signal,
        progress: (fraction) => {
          upload.bar.value = fraction;
          setText(upload.state, fraction < 1 ? t("uploads.sending_part", { percent: percent(fraction) }) : t("uploads.checked"));
        },
      });
      this.#drop(upload);
      this.#onAccepted();
    } catch (error) {
      if (error.name === "AbortError") this.#drop(upload);
      else this.#failed(upload, error);
    } finally {
      this.#running -= 1;
      this.#next();
    }
  }

  #failed(upload, error) {
    const existing = error.body?.existing_document_id;
    upload.bar.remove();
    upload.row.classList.add("is-failed");
    announce(t("documents.said", { name: upload.file.name, state: showProblem(upload.state, error) }));
    const again = () => { this.#drop(upload); this.add([{ file: upload.file, path: upload.path }]); };
    upload.actions.replaceChildren(
      existing
        ? h("button", { type: "button", class: "small", onclick: () => { this.#drop(upload); this.#onDuplicate(existing); } }, t("uploads.show"))
        : iconButton("retry", t("uploads.again", { name: upload.file.name }), again),
      iconButton("close", t("uploads.dismiss", { name: upload.file.name }), () => this.#drop(upload)),
    );
  }
}
