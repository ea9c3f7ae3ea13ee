// The quiet notice while the server starts, fails a check or is out of reach.

import { readiness } from "./api.js";
import { byId, setText } from "./dom.js";
import { t } from "./speech.js";
import { missing } from "./words.js";

const SOON = 1500;
const LATER = 15000;

// Asks /readyz now and again for as long as the page is open; `onReady` runs whenever it turns ready.
export function watchReadiness(onReady) {
  const notice = byId("notice");
  let was = false;
  let timer = 0;
  const look = async () => {
    clearTimeout(timer);
    let text;
    let ready = false;
    try {
      const state = await readiness();
      ready = state.ready === true;
      text = ready ? "" : missing(state.checks) || t("readiness.starting");
    } catch {
      text = t("readiness.unreachable");
    }
    setText(notice, text);
    notice.hidden = !text;
    if (ready && !was) onReady();
    was = ready;
    timer = setTimeout(look, ready ? LATER : SOON);
  };
  document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });
  look();
  return look;
}
