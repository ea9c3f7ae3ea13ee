// API keys: listed, made, given another secret, revoked. A secret is shown once.

import { listCollections } from "./api.js";
import { listKeys, makeKey, revokeKey, rotateKey } from "./admin_api.js";
import { bdi, h } from "./dom.js";
import { t } from "./speech.js";
import { button, checkbox, choice, factsOf, field, secretPlace, twice } from "./view.js";
import { moment } from "./words.js";

const GRACE_HOURS = 24;

export async function section({ me, say, tried }) {
  const collections = await listCollections();
  const names = new Map(collections.map(({ id, name }) => [id, name]));
  const list = h("ul", { class: "docs", "aria-label": t("admin.keys") });
  const once = secretPlace();

  const state = (key) => {
    if (key.revoked_at) return t("keys.revoked", { when: moment(key.revoked_at) });
    if (key.expires_at) return t(new Date(key.expires_at) < new Date() ? "keys.expired" : "keys.expires", { when: moment(key.expires_at) });
    return null;
  };
  const reveal = (key) => once.reveal(key.key, t("keys.secret", { name: key.name }));
  const row = (key) => {
    const facts = [
      t(`role.${key.role}`), key.operator ? t("role.operator") : null,
      key.collections ? key.collections.map((id) => names.get(id) ?? id).join(", ") : t("keys.everywhere"),
      key.prefixes[0] ? `${key.prefixes[0]}…` : null,
      key.last_used_at ? t("keys.used", { when: moment(key.last_used_at) }) : t("keys.unused"), state(key),
    ];
    const over = key.revoked_at || (key.expires_at && new Date(key.expires_at) < new Date());
    return h("li", { class: over ? "entry is-over" : "entry" }, h("p", {}, bdi(key.name)),
      factsOf(facts),
      over ? null : h("div", { class: "talk-does" },
        button(t("keys.rotate"), t("keys.rotate_one", { name: key.name }), () => tried(async () => {
          reveal(await rotateKey(key.id, GRACE_HOURS));
          say(t("keys.rotated", { hours: GRACE_HOURS }));
          await load();
        })),
        twice({ text: t("keys.revoke"), label: t("keys.revoke_one", { name: key.name }), sure: t("view.sure"), sureLabel: t("keys.revoke_sure", { name: key.name }) },
          () => tried(async () => {
            await revokeKey(key.id);
            say(t("keys.gone", { name: key.name }));
            await load();
          }))));
  };
  async function load() {
    list.replaceChildren(...(await listKeys()).map(row));
  }

  const name = h("input", { type: "text", maxlength: 200, required: true, autocomplete: "off" });
  const role = choice(["reader", "editor", "admin"].map((each) => [each, t(`role.${each}`)]));
  const days = h("input", { type: "number", min: 1, max: 3650, inputmode: "numeric" });
  const [operator, operatorLine] = checkbox(t("keys.operator"));
  const boxes = collections.map((each) => [each.id, ...checkbox(bdi(each.name), { value: each.id })]);
  const form = h("form", { class: "view-form", onsubmit: (event) => { event.preventDefault(); make(); } },
    h("h3", {}, t("keys.new")),
    field(t("keys.name"), name), field(t("keys.role"), role), field(t("keys.days"), days, t("keys.days_hint")),
    h("fieldset", {}, h("legend", {}, t("keys.only")), boxes.map(([, , line]) => line)),
    me.operator ? operatorLine : null,
    h("button", { type: "submit", class: "primary" }, t("keys.make")));
  const make = () => tried(async () => {
    const only = boxes.filter(([, box]) => box.checked).map(([id]) => id);
    const key = { name: name.value.trim(), role: role.value, operator: operator.checked };
    if (only.length) key.collections = only;
    if (days.value) key.expires_in_days = Number(days.value);
    const made = await makeKey(key);
    form.reset();
    say(t("keys.made", { name: made.name }));
    await load();
    reveal(made);
  });
  await load();
  return [once.place, list, form];
}
