// Signing in with an API key, where the service asks for one. The key is sent once; a cookie that no script can read stays.

import { byId, setText } from "./dom.js";
import { signedOut, signIn } from "./api.js";

const dialog = byId("signin");
const key = byId("signin-key");
const problem = byId("signin-problem");

function ask() {
  if (dialog.open) return;
  problem.hidden = true;
  dialog.showModal();
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
