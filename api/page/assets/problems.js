// What went wrong, said: the page's own words where it has some, and beneath them the server's, which are English.

import { h } from "./dom.js";
import { has, t } from "./speech.js";

// What went wrong by a stable code and what to do, or null for a code without advice.
export const remedyFor = (code, values) => (has(`problem.${code}`) ? t(`problem.${code}`, values) : null);

const words = (error) => (error?.code ? remedyFor(error.code, { status: error.status }) : t("problem.page"));
const original = (error) => (error?.code ? error.detail ?? error.message : "");

// The pieces of a Problem, or of a document's `error` ({code, detail}); anything else thrown is a fault of this page.
export function explained(error) {
  const [own, detail] = [words(error), original(error)];
  return [own, detail ? h("span", { class: own ? "said" : null, lang: "en" }, own ? ` ${detail}` : detail) : null].filter(Boolean);
}

// Shows it in `element`, or nothing; returns it as text.
export function showProblem(element, error) {
  element.replaceChildren(...(error ? explained(error) : []));
  element.hidden = !error;
  return element.textContent;
}
