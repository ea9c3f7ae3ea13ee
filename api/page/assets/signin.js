// Signing in with an API key, where the service asks for one. The key is sent once; a cookie that no script can read stays.

import { byId, setText } from "./dom.js";
import { signedOut, signIn, signInWays } from "./api.js";

const dialog = byId("signin");
const key = byId("signin-key");
const problem = byId("signin-problem");
const provider = byId("signin-provider");

// What the provider's way back ended with, by the code of the problem.
const FAILED = {
  not_admitted: "You are known to the provider and not admitted here. Ask whoever keeps this service.",
  provider_unavailable: "The provider cannot be reached at the moment.",
  sign_in_expired: "That took too long, or began in another browser. Sign in again.",
};

function failure() {
  const code = location.hash.match(/^#sign-in=(\w+)$/)?.[1];
  if (!code) return "";
  history.replaceState(null, "", location.pathname);
  return FAILED[code] ?? "The provider did not confirm the sign-in. Sign in again.";
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
  setText(provider, `Sign in with ${ways.provider}`);
  provider.hidden = false;
}

byId("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  problem.hidden = true;
  try {
    await signIn(key.value.trim());
  } catch (error) {
    setText(problem, error.message);
    problem.hidden = false;
    key.select();
    return;
  }
  key.value = "";
  location.reload();
});

export const watchSignIn = () => signedOut.addEventListener("signedout", ask);
