// What the views have in common that are fetched when they are opened: their words and styles, a dialog, lines of text.

import { copyText } from "./copy.js";
import { bdi, h, iconButton, setText } from "./dom.js";
import { showProblem } from "./problems.js";
import { learn, t } from "./speech.js";

let prepared = null;
// Resolves once the words and styles of these views are there.
export function prepare() {
  prepared ??= Promise.all([learn("views"), new Promise((resolve, reject) => {
    const link = h("link", { rel: "stylesheet", href: "assets/views.css", onload: resolve, onerror: reject });
    document.head.append(link);
  })]).catch((error) => { prepared = null; throw error; });
  return prepared;
}

// A dialog over the page; `body` is what it shows, `say` its line of news, `complain` the same for a Problem. It is gone once
// it is closed, and the focus back at `opener`.
export function dialogOf(name, heading, { opener, onClose = () => {} }) {
  const title = h("h2", { id: `${name}-title`, tabindex: "-1" }, heading);
  const status = h("p", { class: "fine view-status", role: "status" });
  const body = h("div", { class: "view-body" });
  const dialog = h("dialog", { id: name, class: "about view", "aria-labelledby": `${name}-title` },
    h("div", { class: "about-head" }, title, iconButton("close", t("page.close"), () => dialog.close())), status, body);
  dialog.addEventListener("close", () => {
    dialog.remove();
    onClose();
    if (opener?.isConnected) opener.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  title.focus();
  const say = (text) => setText(status, text);
  const complain = (error) => { showProblem(status, error); status.hidden = false; };
  // Runs what may fail, and says so where it does.
  const tried = async (work) => {
    try {
      return await work();
    } catch (error) {
      complain(error);
      return null;
    }
  };
  return { dialog, title, body, say, complain, tried };
}

export const button = (text, label, onclick) => h("button", { type: "button", class: "small", "aria-label": label, onclick }, text);

// A button that asks once more before it does what can't be undone. `texts`: {text, label, sure, sureLabel}.
export function twice({ text, label, sure, sureLabel }, work) {
  const made = button(text, label, () => {
    if (made.textContent !== sure) {
      setText(made, sure);
      made.classList.add("danger");
      made.ariaLabel = sureLabel;
      return null;
    }
    return work();
  });
  made.addEventListener("blur", () => {
    setText(made, text);
    made.classList.remove("danger");
    made.ariaLabel = label;
  });
  return made;
}

// A labelled control in a form.
export function field(label, control, hint = null) {
  return h("label", { class: "field" }, h("span", {}, label), control, hint ? h("span", { class: "fine" }, hint) : null);
}
export const checkbox = (label, props) => {
  const box = h("input", { type: "checkbox", ...props });
  return [box, h("label", { class: "ask-weigh" }, box, " ", label)];
};
export const choice = (options, value) => {
  const select = h("select", {}, options.map(([key, text]) => h("option", { value: key }, text)));
  select.value = value ?? options[0]?.[0] ?? "";
  return select;
};

// The line of what is so of an entry; what it lacks is left out.
export const factsOf = (facts) => h("p", { class: "doc-state" }, facts.filter(Boolean).flatMap((fact, place) => [place ? " · " : "", bdi(fact)]));

// Where secrets are shown for the one time that they are: `reveal(text, label)` puts one there, with a button that copies it.
export function secretPlace() {
  const place = h("div", { "aria-live": "polite" });
  const reveal = (text, label) => {
    const shown = h("input", { type: "text", class: "secret", readonly: true, value: text, "aria-label": label, spellcheck: "false" });
    const copy = button(t("view.copy"), t("view.copy_one", { name: label }), async () => {
      const copied = await copyText(text);
      if (!copied) shown.select();
      setText(copy, t(copied ? "view.copied" : "view.not_copied"));
    });
    place.replaceChildren(h("div", { class: "once", role: "group", "aria-label": label }, h("p", {}, t("view.once")), h("div", { class: "collection-row" }, shown, copy)));
    shown.focus();
    shown.select();
  };
  return { place, reveal };
}
