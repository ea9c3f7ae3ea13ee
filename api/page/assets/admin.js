// Administration: keys, people, webhooks, and what people said of answers, each in a section of its own.

import { h } from "./dom.js";
import { t } from "./speech.js";
import { dialogOf, prepare } from "./view.js";

const SECTIONS = {
  keys: () => import("./admin_keys.js"),
  people: () => import("./admin_people.js"),
  hooks: () => import("./admin_hooks.js"),
  feedback: () => import("./admin_feedback.js"),
};

// Where nobody is asked who they are, there are no keys and no people; who keeps a collection alone reads what was said.
function sectionsFor(me) {
  const admin = me.role === "admin";
  return Object.keys(SECTIONS).filter((name) => name === "feedback" || (admin && (name === "hooks" || me.kind !== "local")));
}

export async function show({ opener, me }) {
  await prepare();
  const view = dialogOf("admin", t("admin.heading"), { opener });
  const place = h("div", { class: "view-section", role: "region" });
  const tabs = new Map();
  let wanted = "";
  const open = (name) => view.tried(async () => {
    wanted = name;
    view.say("");
    for (const [each, tab] of tabs) {
      if (each === name) tab.setAttribute("aria-current", "true");
      else tab.removeAttribute("aria-current");
    }
    place.setAttribute("aria-label", tabs.get(name).textContent);
    place.replaceChildren();
    const { section } = await SECTIONS[name]();
    const parts = await section({ ...view, me });
    if (wanted === name) place.replaceChildren(...parts);
  });
  for (const name of sectionsFor(me)) {
    tabs.set(name, h("button", { type: "button", class: "small", onclick: () => open(name) }, t(`admin.${name}`)));
  }
  view.body.append(h("nav", { class: "view-tabs", "aria-label": t("admin.heading") }, ...tabs.values()), place);
  await open(tabs.keys().next().value);
}
