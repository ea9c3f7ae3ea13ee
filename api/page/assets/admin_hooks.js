// Webhooks: listed, made, disabled, deleted; what was sent to each, and sent once more.

import { changeHook, deleteHook, listDeliveries, listHooks, makeHook, rotateHook, sendAgain } from "./admin_api.js";
import { bdi, h } from "./dom.js";
import { t } from "./speech.js";
import { button, checkbox, field, secretPlace, twice } from "./view.js";
import { coded, moment } from "./words.js";

const EVENTS = ["document.ready", "document.failed", "document.deleted"];
const named = (event) => coded("hookevent", event.split(".")[1]);

export async function section({ say, tried }) {
  const list = h("ul", { class: "docs", "aria-label": t("admin.hooks") });
  const once = secretPlace();
  const reveal = (hook) => once.reveal(hook.secret, t("hooks.secret", { url: hook.url }));

  const delivery = (hook, sent, again) => h("tr", {},
    h("td", {}, named(sent.event), h("span", { class: "fine" }, " ", bdi(sent.document_id))),
    h("td", {}, coded("delivery", sent.status), sent.error ? h("span", { class: "fine" }, ` ${coded("hookerror", sent.error)}${sent.answered ? ` ${sent.answered}` : ""}`) : null),
    h("td", {}, moment(sent.updated_at)),
    h("td", {}, hook.disabled_at ? null : button(t("hooks.again"), t("hooks.again_one", { id: sent.id }), () => tried(async () => {
      await sendAgain(hook.id, sent.id);
      say(t("hooks.sent_again"));
      await again();
    }))));
  const deliveries = (hook) => {
    const table = h("tbody");
    const fill = async () => {
      const sent = await listDeliveries(hook.id);
      table.replaceChildren(...(sent.length ? sent.map((each) => delivery(hook, each, fill)) : [h("tr", {}, h("td", { class: "fine" }, t("hooks.nothing")))]));
    };
    return h("details", { ontoggle: (event) => { if (event.target.open) tried(fill); } },
      h("summary", { "aria-label": t("hooks.deliveries_of", { url: hook.url }) }, t("hooks.deliveries")),
      h("div", { class: "view-wide", tabindex: "0", role: "group", "aria-label": t("hooks.deliveries_of", { url: hook.url }) }, h("table", { class: "view-table" }, table)));
  };
  const row = (hook) => {
    const facts = [
      hook.events.length === EVENTS.length ? t("hooks.all") : hook.events.map(named).join(", "), moment(hook.created_at),
      hook.disabled_at ? t("hooks.disabled", { why: coded("hookoff", hook.disabled_because ?? "by_hand") }) : null,
      hook.failing_since && !hook.disabled_at ? t("hooks.failing", { when: moment(hook.failing_since) }) : null,
    ];
    const change = (disabled) => tried(async () => {
      await changeHook(hook.id, { disabled });
      say(t(disabled ? "hooks.off_now" : "hooks.on_now"));
      await load();
    });
    return h("li", { class: hook.disabled_at ? "entry is-over" : "entry" }, h("p", {}, bdi(hook.url)),
      h("p", { class: "doc-state" }, facts.filter(Boolean).join(" · ")),
      h("div", { class: "talk-does" },
        button(t(hook.disabled_at ? "hooks.on" : "hooks.off"), t(hook.disabled_at ? "hooks.on_one" : "hooks.off_one", { url: hook.url }), () => change(!hook.disabled_at)),
        button(t("hooks.rotate"), t("hooks.rotate_one", { url: hook.url }), () => tried(async () => { reveal(await rotateHook(hook.id)); })),
        twice({ text: t("hooks.delete"), label: t("hooks.delete_one", { url: hook.url }), sure: t("view.sure"), sureLabel: t("hooks.delete_sure", { url: hook.url }) },
          () => tried(async () => {
            await deleteHook(hook.id);
            say(t("hooks.deleted"));
            await load();
          }))),
      deliveries(hook));
  };
  async function load() {
    const hooks = await listHooks();
    list.replaceChildren(...(hooks.length ? hooks.map(row) : [h("li", { class: "entry fine" }, t("hooks.none"))]));
  }

  const url = h("input", { type: "text", inputmode: "url", maxlength: 2000, required: true, autocomplete: "off" });
  const boxes = EVENTS.map((event) => [event, ...checkbox(named(event), { checked: true })]);
  const form = h("form", { class: "view-form", onsubmit: (event) => { event.preventDefault(); make(); } },
    h("h3", {}, t("hooks.new")), field(t("hooks.url"), url),
    h("fieldset", {}, h("legend", {}, t("hooks.events")), boxes.map(([, , line]) => line)),
    h("button", { type: "submit", class: "primary" }, t("hooks.make")));
  const make = () => tried(async () => {
    const hook = await makeHook({ url: url.value.trim(), events: boxes.filter(([, box]) => box.checked).map(([event]) => event) });
    form.reset();
    say(t("hooks.made"));
    await load();
    reveal(hook);
  });
  await load();
  return [once.place, list, form];
}
