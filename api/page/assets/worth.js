// What each quote is worth to an answer: a bar, and the same in words.

import { h } from "./dom.js";
import { count } from "./words.js";

const LITTLE = 0.05;
const MOST = 14; // beyond a million times no number says more

function words({ drop, of }) {
  const what = of === "question" ? "question fits" : "answer fits";
  if (Math.abs(drop) < LITTLE) return `The ${what} as well without this quote`;
  if (drop > MOST) return `The ${what} over a million times better with this quote`;
  const times = Math.exp(Math.abs(drop));
  return `The ${what} ${times < 10 ? times.toFixed(1) : count(Math.round(times))} times ${drop > 0 ? "better" : "worse"} with this quote`;
}

// Puts the receipts that are there into the quotes of a list: bars are drawn against the largest.
export function showWorth(list, receipts) {
  const most = Math.max(LITTLE, ...receipts.map((receipt) => receipt.drop));
  for (const receipt of receipts) {
    const quote = list.querySelector(`[data-id="${Number(receipt.citation_id)}"]`);
    if (!quote) continue;
    quote.querySelector(".worth")?.remove();
    const bar = h("span", { class: "worth-bar", "aria-hidden": "true" });
    bar.style.inlineSize = `${Math.round((Math.max(0, receipt.drop) / most) * 100)}%`;
    quote.append(h("div", { class: "worth" }, h("span", { class: "worth-track", "aria-hidden": "true" }, bar), h("span", { class: "fine" }, words(receipt))));
  }
}
