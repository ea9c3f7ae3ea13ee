// Asks the service to make an answer again, and says in plain words what is different.

import { Problem, replayAnswer } from "./api.js";
import { announce, bdi, h } from "./dom.js";
import { explained } from "./problems.js";
import { t } from "./speech.js";
import { coded } from "./words.js";

const line = (change) => h("li", {},
  coded("change", change.what),
  change.document_id ? [": ", bdi(change.document_id)] : null,
  change.detail ? [": ", h("bdi", { lang: "en" }, change.detail)] : null);

// What is different, as a list.
export const changesOf = (changed) => h("ul", {}, changed.map(line));

// A button for an answer that is complete, and the place where its outcome is said.
export function replayOf(answerId) {
  const outcome = h("div", { class: "replay", role: "status" });
  const button = h("button", { type: "button", class: "small", onclick: async () => {
    button.disabled = true;
    outcome.replaceChildren(h("p", { class: "fine" }, t("replay.running")));
    try {
      const { changed } = await replayAnswer(answerId);
      outcome.replaceChildren(...(changed
        ? [h("p", {}, t("replay.differs")), changesOf(changed)]
        : [h("p", {}, t("replay.same"))]));
    } catch (error) {
      outcome.replaceChildren(h("p", { class: "problem" }, explained(error)));
      if (!(error instanceof Problem)) throw error;
    } finally {
      button.disabled = false;
      announce(outcome.textContent);
    }
  } }, t("replay.go"));
  return [button, outcome];
}
