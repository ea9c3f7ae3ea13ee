// What each quote is worth to an answer: a bar, and the same in words.

import { h } from "./dom.js";
import { count, locale, t } from "./speech.js";

const LITTLE = 0.05;
const MOST = 14; // beyond a million times no number says more
const tenths = new Intl.NumberFormat(locale, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

function words({ drop, of }) {
  const about = of === "question" ? "worth.question" : "worth.answer";
  if (Math.abs(drop) < LITTLE) return t(`${about}_same`);
  if (drop > MOST) return t(`${about}_most`);
  const factor = Math.exp(Math.abs(drop));
  const times = factor < 10 ? tenths.format(factor) : count(Math.round(factor));
  return t(`${about}_${drop > 0 ? "better" : "worse"}`, { times });
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
