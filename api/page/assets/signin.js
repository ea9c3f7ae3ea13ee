// Signing in with an API key, where the service asks for one. The key is sent once; a cookie that no script can read stays.

import { byId, setText } from "./dom.js";
import { signedOut, signIn, signInWays } from "./api.js";
import { remedyFor, showProblem } from "./problems.js";
import { t } from "./speech.js";

const dialog = byId("signin");
const key = byId("signin-key");
const problem = byId("signin-problem");
const provider = byId("signin-provider");

// The link that somebody followed here, kept in this tab while they are at the provider: it sends everybody back to the
// page itself, so that no address can be slipped in.
const LINK = "longleaf.link";

function keepLink() {
  if (location.hash) sessionStorage.setItem(LINK, location.hash);
}

function takeUpLink() {
  const link = sessionStorage.getItem(LINK);
  if (!link || location.hash) return;
  sessionStorage.removeItem(LINK);
  history.replaceState(null, "", link);
}

// What the provider's way back ended with.
function failure() {
  const code = location.hash.match(/^#sign-in=(\w+)$/)?.[1];
  if (!code) return "";
  history.replaceState(null, "", location.pathname);
  return remedyFor(code) ?? t("problem.sign_in_refused");
}

async function ask() {
  if (dialog.open) return;
  const said = failure();
  setText(problem, said);
  problem.hidden = !said;
  dialog.showModal();
  const ways = await signInWays().catch(() => ({}));
  if (!ways.provider) return;
  provider.href = "session/oidc";
  setText(provider, t("signin.with", { provider: ways.provider }));
  provider.hidden = false;
}

byId("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  try {
    await signIn(key.value.trim());
  } catch (error) {
    showProblem(problem, error);
    key.select();
    return;
  }
  key.value = "";
  location.reload();
});

provider.addEventListener("click", keepLink);

export function watchSignIn() {
  takeUpLink();
  signedOut.addEventListener("signedout", ask);
}
