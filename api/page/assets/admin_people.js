// People: who is in the workspace with which roles; operators also keep somebody out of the whole service.

import { listCollections } from "./api.js";
import { disableUser, listMembers, listUsers, putMember, removeMember } from "./admin_api.js";
import { bdi, h } from "./dom.js";
import { t } from "./speech.js";
import { button, choice, factsOf, field, twice } from "./view.js";

const ROLES = ["reader", "editor", "admin"];

export async function section({ me, say, tried }) {
  const collections = await listCollections();
  const names = new Map(collections.map(({ id, name }) => [id, name]));
  const list = h("ul", { class: "docs", "aria-label": t("admin.people") });

  const email = h("input", { type: "text", inputmode: "email", maxlength: 254, required: true, autocomplete: "off" });
  const roles = (none) => [["", none], ...ROLES.map((role) => [role, t(`role.${role}`)])];
  const everywhere = choice(roles(t("people.nowhere")), "reader");
  const single = collections.map(({ id, name }) => [id, name, choice(roles(t("people.same")), "")]);
  const form = h("form", { class: "view-form", onsubmit: (event) => { event.preventDefault(); save(); } },
    h("h3", {}, t("people.new")),
    field(t("people.email"), email), field(t("people.everywhere"), everywhere),
    h("fieldset", {}, h("legend", {}, t("people.single")), single.map(([, name, select]) => field(bdi(name), select))),
    h("button", { type: "submit", class: "primary" }, t("people.save")));
  const save = () => tried(async () => {
    const { user } = await putMember({
      email: email.value.trim(),
      role: everywhere.value || null,
      collections: Object.fromEntries(single.filter(([, , select]) => select.value).map(([id, , select]) => [id, select.value])),
    });
    form.reset();
    everywhere.value = "reader";
    say(t("people.saved", { name: user.email }));
    await load();
  });
  const edit = ({ user, role, collections: held }) => {
    email.value = user.email;
    everywhere.value = role ?? "";
    for (const [id, , select] of single) select.value = held[id] ?? "";
    email.focus();
  };

  const row = (user, member) => {
    const facts = [
      user.name && user.name !== user.email ? user.name : null,
      member?.role ? t(`role.${member.role}`) : null,
      ...Object.entries(member?.collections ?? {}).map(([id, role]) => `${names.get(id) ?? id}: ${t(`role.${role}`)}`),
      user.operator ? t("role.operator") : null, member ? null : t("people.elsewhere"), user.disabled_at ? t("people.disabled") : null,
    ];
    return h("li", { class: user.disabled_at ? "entry is-over" : "entry" }, h("p", {}, bdi(user.email)),
      factsOf(facts),
      h("div", { class: "talk-does" },
        member ? button(t("people.change"), t("people.change_one", { name: user.email }), () => edit(member)) : null,
        me.operator ? button(t(user.disabled_at ? "people.enable" : "people.disable"), t(user.disabled_at ? "people.enable_one" : "people.disable_one", { name: user.email }), () => tried(async () => {
          await disableUser(user.id, !user.disabled_at);
          say(t(user.disabled_at ? "people.enabled_now" : "people.disabled_now", { name: user.email }));
          await load();
        })) : null,
        member ? twice({ text: t("people.remove"), label: t("people.remove_one", { name: user.email }), sure: t("view.sure"), sureLabel: t("people.remove_sure", { name: user.email }) },
          () => tried(async () => {
            await removeMember(user.id);
            say(t("people.removed", { name: user.email }));
            await load();
          })) : null));
  };
  async function load() {
    const [members, users] = await Promise.all([listMembers(), me.operator ? listUsers() : []]);
    const inside = new Map(members.map((member) => [member.user.id, member]));
    const others = users.filter((user) => !inside.has(user.id));
    list.replaceChildren(...members.map((member) => row(member.user, member)), ...others.map((user) => row(user, null)));
    if (!list.children.length) list.append(h("li", { class: "entry fine" }, t("people.none")));
  }
  await load();
  return [list, form];
}
