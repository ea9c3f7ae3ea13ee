// Views that few open at each visit: fetched when they are opened for the first time.

import { signOut, whoAmI } from "./api.js";
import { byId } from "./dom.js";
import { showProblem } from "./problems.js";

const VIEWS = {
  compare: () => import("./compare.js"),
  admin: () => import("./admin.js"),
  operations: () => import("./operations.js"),
};

// Who may see a view, from what /me says. Where nobody is asked who they are, there are no keys and no people.
const MAY = {
  admin: (me) => me.role === "admin" || me.role === "editor" || Object.values(me.collections).some((role) => role !== "reader"),
  operations: (me) => me.operator,
};

// Opens a view; `given` is what it takes, `opener` among it.
export async function openView(name, given) {
  try {
    const { show } = await VIEWS[name]();
    await show(given);
  } catch (error) {
    showProblem(byId("notice"), error);
  }
}

async function leave(me) {
  try {
    await signOut();
    // People come by a provider, keys do not: there they are signed out as well.
    if (me.kind === "user") location.assign("session/oidc/sign-out");
    else location.reload();
  } catch (error) {
    showProblem(byId("notice"), error);
  }
}

// Offers the views that this person may see, and to sign out where people sign in; nothing to who is not known.
export async function offerViews() {
  const me = await whoAmI().catch(() => null);
  if (!me) return;
  byId("menu-signout").hidden = me.kind === "local";
  byId("menu-signout").addEventListener("click", () => leave(me));
  if (me.kind !== "local") byId("menu").hidden = false;
  for (const [name, may] of Object.entries(MAY)) {
    const button = byId(`menu-${name}`);
    button.hidden = !may(me);
    button.addEventListener("click", () => openView(name, { opener: button, me }));
    if (may(me)) byId("menu").hidden = false;
  }
}
