// An answer as plain text that can be pasted elsewhere and still be checked.

import { h } from "./dom.js";
import { pagesLabel } from "./words.js";

export function transcript(question, answer, verdict, citations) {
  const quotes = citations.map((citation) => {
    const source = [citation.document_title, pagesLabel(citation.page_number)].filter(Boolean).join(", ");
    return `[${citation.id}] “${citation.cited_text}”\n    ${source}`;
  });
  return [question, verdict, answer.trim(), ...quotes].filter(Boolean).join("\n\n") + "\n";
}

// The clipboard, also where the page is served without TLS and the newer interface is missing.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const back = document.activeElement;
    const field = h("textarea", { class: "unseen", "aria-hidden": "true" });
    field.value = text;
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    back?.focus();
    return copied;
  }
}
