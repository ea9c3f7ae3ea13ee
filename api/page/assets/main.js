// Brings the parts of the page together.

import { About } from "./about.js";
import { Asking } from "./ask.js";
import { Collections } from "./collections.js";
import { Documents } from "./documents.js";
import { byId, setText } from "./dom.js";
import { Finds } from "./find.js";
import { offerViews, openView } from "./menu.js";
import { Reader } from "./reader.js";
import { watchReadiness } from "./readiness.js";
import { watchSignIn } from "./signin.js";
import { t, whenLeaving } from "./speech.js";
import { Talks } from "./talks.js";
import { Uploads } from "./uploads.js";

const reader = new Reader();
const about = new About({ onChange: () => documents.refresh() });
const collections = new Collections(() => documents.reset());
const documents = new Documents({
  collection: () => collections.current,
  onChange: (docs) => { about.follow(docs); changed(); },
  onOpen: (doc, opener) => reader.showDocument(doc, opener),
  onAbout: (doc, opener) => about.show(doc, opener),
});
const scope = () => ({ collection: collections.current, chosen: documents.chosen, ready: documents.ready, total: documents.total });
const cite = (passages, index, opener) => reader.showQuote(passages, index, opener);
new Finds({ scope, cite });
const asking = new Asking({
  scope,
  cite,
  compare: (question, answer, opener) => openView("compare", { opener, question, answer, collection: collections.current }),
});
const talks = new Talks({
  onOpen: (talk) => { collections.choose(talk.collection); asking.show(talk); },
  onGone: (id) => asking.leave(id),
});
new Uploads({
  collection: () => collections.current,
  onAccepted: () => documents.refresh(),
  onDuplicate: (id) => documents.reveal(id),
});

// A server that does not answer soon must not leave the page bare.
const PATIENCE_MS = 1000;

const toggle = byId("library-toggle");
function showLibrary(open) {
  document.body.classList.toggle("shows-library", open);
  toggle.setAttribute("aria-expanded", String(open));
}
toggle.addEventListener("click", () => showLibrary(toggle.getAttribute("aria-expanded") !== "true"));
byId("ask").addEventListener("submit", () => showLibrary(false));

let known = false;
function changed() {
  asking.describe();
  setText(toggle, documents.total ? t("unit.documents", { n: documents.total }) : t("documents.heading"));
  // On a phone the list starts open only while there is nothing to ask about yet.
  if (!known) showLibrary(documents.total === 0);
  known = true;
}

whenLeaving(() => asking.keep());
watchSignIn();
offerViews();
watchReadiness(() => { collections.load().catch(() => {}); documents.refresh(); });
collections.load().catch(() => {}).finally(() => talks.followLink());
const settle = () => document.body.classList.add("is-known");
setTimeout(settle, PATIENCE_MS);
documents.refresh().finally(settle);
