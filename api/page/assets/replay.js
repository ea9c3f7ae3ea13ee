// Asks the service to make an answer again, and says in plain words what is different.

import { Problem, replayAnswer } from "./api.js";
import { announce, bdi, h } from "./dom.js";

const SAID = {
  document_deleted: "A document was deleted",
  document_updated: "A document was read anew",
  document_published: "A document came to the collection",
  passage_text: "The stored text of a passage is another",
  collection_deleted: "The collection was deleted",
  model: "Another language model runs",
  embedder: "Another search model runs",
  release: "Another version of the service runs",
  budget: "Another number of tokens may be read",
  searches: "Other searches were made",
  disagreements: "The sources disagree otherwise",
  ranking: "The search finds other passages, or in another order",
  segments: "Other passages are read",
  dropped: "Other passages are left out",
  citations: "Other quotes are given",
  status: "Whether there is an answer is different",
  kind: "The answer is of another kind",
  evidence: "The evidence weighs differently",
  answer: "The text of the answer is another",
  withdrawn: "The first text is no longer kept, because a document that it came from is gone",
  refused: "The question can no longer be answered",
  format: "The answer was kept by an older version",
};

const line = (change) => h("li", {},
  SAID[change.what] ?? String(change.what).replaceAll("_", " "),
  change.document_id ? [": ", bdi(change.document_id)] : null,
  change.detail ? [": ", bdi(change.detail)] : null);

// A button for an answer that is complete, and the place where its outcome is said.
export function replayOf(answerId) {
  const outcome = h("div", { class: "replay", role: "status" });
  const button = h("button", { type: "button", class: "small", onclick: async () => {
    button.disabled = true;
    outcome.replaceChildren(h("p", { class: "fine" }, "Answering again to compare"));
    try {
      const { changed } = await replayAnswer(answerId);
      outcome.replaceChildren(...(changed
        ? [h("p", {}, "It is not the same any more:"), h("ul", {}, changed.map(line))]
        : [h("p", {}, "Answered again: the same, to the last byte.")]));
    } catch (error) {
      outcome.replaceChildren(h("p", { class: "problem" }, error instanceof Problem ? error.message : "Something on this page went wrong."));
      if (!(error instanceof Problem)) throw error;
    } finally {
      button.disabled = false;
      announce(outcome.textContent);
    }
  } }, "Check again");
  return [button, outcome];
}
