// What people said of answers, for those who keep the collections: newest first, each with its answer on demand.

import { getAnswer } from "./api.js";
import { listFeedback, listKeys, listMembers } from "./admin_api.js";
import { bdi, h } from "./dom.js";
import { t } from "./speech.js";
import { button } from "./view.js";
import { moment } from "./words.js";

// Names by id, as far as this person may know them.
async function namesFor(me) {
  if (me.role !== "admin" || me.kind === "local") return new Map([[me.id, me.name]]);
  const [keys, members] = await Promise.all([listKeys(), listMembers()]);
  return new Map([...keys.map(({ id, name }) => [id, name]), ...members.map(({ user }) => [user.id, user.email])]);
}

export async function section({ me, tried }) {
  const names = await namesFor(me);
  const list = h("ul", { class: "docs", "aria-label": t("admin.feedback") });
  let cursor = null;

  const answer = (id) => {
    const place = h("div", { class: "said-of" });
    return h("details", { ontoggle: (event) => {
      if (!event.target.open || place.firstChild) return;
      tried(async () => {
        const found = await getAnswer(id);
        place.replaceChildren(
          h("p", { dir: "auto" }, found.withdrawn ? t("turn.withdrawn") : found.answer),
          h("ol", {}, found.citations.map((quote) => h("li", { value: quote.id }, h("blockquote", { dir: "auto" }, quote.cited_text), h("p", { class: "fine" }, bdi(quote.document_title))))));
      });
    } }, h("summary", {}, t("judged.answer")), place);
  };
  const row = (given) => h("li", { class: "entry" },
    h("p", { dir: "auto" }, given.question),
    h("p", { class: given.correct ? "verdict" : "verdict is-wrong" }, t(given.correct ? "judged.right" : "judged.wrong"),
      given.wrong_citations.length ? ` · ${t("judged.quotes", { numbers: given.wrong_citations.join(", ") })}` : null),
    given.comment ? h("blockquote", { dir: "auto" }, given.comment) : null,
    h("p", { class: "doc-state" }, bdi(names.get(given.by) ?? given.by), " · ", bdi(given.collection), " · ", moment(given.updated_at)),
    answer(given.answer_id));
  const more = button(t("judged.more"), t("judged.more"), () => tried(load));
  async function load() {
    const { feedback, next_cursor: next } = await listFeedback(cursor);
    list.append(...feedback.map(row));
    cursor = next;
    more.hidden = !next;
    if (!list.children.length) list.append(h("li", { class: "entry fine" }, t("judged.none")));
  }
  await load();
  return [list, more];
}
