// A real OpenID Connect provider for the tests: `node provider.mjs FOLDER CONFIG`, where FOLDER holds `node_modules`
// and CONFIG is JSON: {port, clients, accounts}. An account is its claims; whoever types its name is signed in.

import { pathToFileURL } from "node:url";

const [folder, config] = process.argv.slice(2);
const { port, clients, accounts } = JSON.parse(config);
const { default: Provider } = await import(pathToFileURL(`${folder}/node_modules/oidc-provider/lib/index.js`).href);

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients,
  claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
  pkce: { required: () => true },
  findAccount: (_context, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
});
provider.listen(port, "127.0.0.1", () => process.stdout.write("listening\n"));
