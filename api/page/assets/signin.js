// Signing in with an API key, where the service asks for one. The key is sent once; a cookie that no script can read stays.

import { byId, setText } from "./dom.js";
import { signedOut, signIn, signInWays } from "./api.js";
import { remedyFor, showProblem } from "./problems.js";
import { t } from "./speech.js";

const dialog = byId("signin");
const key = byId("signin-key");
const problem = byId("signin-problem");
const provider = byId("signin-provider");

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

export const watchSignIn = () => signedOut.addEventListener("signedout", ask);
