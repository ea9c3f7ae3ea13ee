// Whether an answer was right, as the person says: yes or no, in words if they like, and which quotes are wrong.

import { Problem, judgeAnswer, takeBack } from "./api.js";
import { announce, h, setText } from "./dom.js";
import { explained } from "./problems.js";
import { t } from "./speech.js";

// The question whether it was right, below an answer that is complete; `answer.feedback` is what was said before.
export function judgementOf(answer) {
  let said = answer.feedback ?? null;
  const outcome = h("p", { class: "fine", role: "status" });
  const place = h("div");
  const verdict = (correct) => h("button", { type: "button", class: "small", onclick: () => say({ correct, comment: said?.comment ?? null, wrong_citations: correct ? [] : said?.wrong_citations ?? [] }) },
    t(correct ? "feedback.yes" : "feedback.no"));
  const [yes, no] = [verdict(true), verdict(false)];

  const tell = (text) => { setText(outcome, text); announce(text); };
  const tried = async (work) => {
    try {
      await work();
    } catch (error) {
      outcome.replaceChildren(h("span", { class: "problem" }, explained(error)));
      announce(outcome.textContent);
      if (!(error instanceof Problem)) throw error;
    }
  };
  const say = (judgement) => tried(async () => {
    said = await judgeAnswer(answer.answer_id, judgement);
    show();
    tell(t("feedback.kept"));
  });
  const withdraw = () => tried(async () => {
    await takeBack(answer.answer_id);
    said = null;
    show();
    tell(t("feedback.gone"));
    yes.focus();
  });
  const form = () => {
    const words = h("textarea", { rows: "2", maxlength: "2000", dir: "auto", "aria-label": t("feedback.comment"), placeholder: t("feedback.comment") });
    words.value = said.comment ?? "";
    const boxes = said.correct ? [] : answer.citations.map(({ id }) => {
      const box = h("input", { type: "checkbox", value: String(id), checked: said.wrong_citations.includes(id) });
      return [box, h("label", { class: "ask-weigh" }, box, " ", t("feedback.quote", { id: String(id) }))];
    });
    const keep = () => say({
      correct: said.correct, comment: words.value.trim() || null,
      wrong_citations: boxes.filter(([box]) => box.checked).map(([box]) => Number(box.value)),
    });
    return h("form", { class: "judge-form", onsubmit: (event) => { event.preventDefault(); keep(); } },
      boxes.length ? h("fieldset", {}, h("legend", {}, t("feedback.which")), boxes.map(([, label]) => label)) : null,
      words,
      h("div", { class: "talk-does" }, h("button", { type: "submit", class: "small" }, t("feedback.save")),
        h("button", { type: "button", class: "link fine", onclick: withdraw }, t("feedback.withdraw"))),
      h("p", { class: "fine" }, t("feedback.who")));
  };
  const show = () => {
    yes.setAttribute("aria-pressed", String(said?.correct === true));
    no.setAttribute("aria-pressed", String(said?.correct === false));
    place.replaceChildren(...(said ? [form()] : []));
  };
  show();
  return h("div", { class: "judge", role: "group", "aria-label": t("feedback.ask") },
    h("div", { class: "talk-does" }, h("span", {}, t("feedback.ask")), yes, no), outcome, place);
}
