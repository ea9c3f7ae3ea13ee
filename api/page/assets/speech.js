// The words of the page: one catalog for each language, of which the one in use is fetched before anything is shown.

export const LANGUAGES = ["en", "de", "fr", "it", "pt", "hi", "es", "th"];
const REMEMBERED = "longleaf.language";
const ATTRIBUTES = ["aria-label", "title", "placeholder", "content"];

const primary = (tag) => String(tag).split("-")[0].toLowerCase();

function remembered() {
  try { return localStorage.getItem(REMEMBERED); } catch { return null; }
}

async function catalog(code) {
  const response = await fetch(`assets/words/${code}.json`);
  if (!response.ok) throw new Error(`${response.url}: ${response.status}`);
  return response.json();
}

let spoken = [remembered(), ...navigator.languages].map(primary).find((code) => LANGUAGES.includes(code)) ?? "en";
const words = await catalog(spoken).catch((error) => {
  if (spoken === "en") throw error;
  spoken = "en";
  return catalog(spoken);
});

// The language in use, as in `lang`, and the same with the person's region, for numbers and dates.
export const language = spoken;
export const locale = navigator.languages.find((tag) => primary(tag) === language) ?? language;

const number = new Intl.NumberFormat(locale);
const rules = new Intl.PluralRules(language);
export const count = (value) => number.format(value ?? 0);

// Takes in the words of views that are fetched when they are opened, from the catalogs of their own.
export async function learn(part) {
  Object.assign(words, await catalog(`${part}/${language}`));
}

const SLOT = /\{(\w+)\}/y;
const CHOICE = /\{(\w+), plural,/y;
const FORM = /\s*(\w+) \{/y;
const TEXT = /[^{}#]+/y;

// A message in ICU's syntax as far as the catalogs use it: {name}, and {name, plural, one {…} other {…}} with # for the number.
// Returns what it is made of, up to the closing brace, and where that is.
function read(message, from, counted) {
  const parts = [];
  let at = from;
  const take = (pattern) => {
    pattern.lastIndex = at;
    const found = pattern.exec(message);
    if (found) at = pattern.lastIndex;
    return found;
  };
  while (at < message.length && message[at] !== "}") {
    let found;
    if ((found = take(SLOT))) parts.push({ name: found[1] });
    else if ((found = take(CHOICE))) {
      const choice = { name: found[1], forms: {} };
      for (let form; (form = take(FORM)); at += 1) [choice.forms[form[1]], at] = read(message, at, choice.name);
      at += 1;
      parts.push(choice);
    } else if ((found = take(TEXT))) parts.push(found[0]);
    else {
      parts.push(counted ? { number: counted } : message[at]);
      at += 1;
    }
  }
  return [parts, at];
}

const known = new Map();
function partsOf(key) {
  if (!known.has(key)) {
    if (!(key in words)) console.error(`no words for ${key} in ${language}`);
    known.set(key, read(words[key] ?? key, 0, null)[0]);
  }
  return known.get(key);
}

const shown = (value) => (typeof value === "number" ? count(value) : value ?? "");
const filled = (parts, values) => parts.flatMap((part) => {
  if (typeof part === "string") return part;
  if (part.number) return count(values[part.number]);
  if (!part.forms) return shown(values[part.name]);
  return filled(part.forms[rules.select(values[part.name] ?? 0)] ?? part.forms.other, values);
});

export const has = (key) => key in words;
// The words of a key as text; numbers among the values are written as the language does, and choose the plural form.
export const t = (key, values = {}) => filled(partsOf(key), values).join("");
// The same in pieces, for values that are elements.
export const told = (key, values = {}) => filled(partsOf(key), values);

// Gives the elements of `root` the words that they name: `data-t` its text, with its children that have `data-slot` in their
// places; `data-t-title` and the like an attribute.
function dress(root) {
  for (const element of root.querySelectorAll("[data-t]")) {
    const slots = [...element.querySelectorAll("[data-slot]")].map((slot) => [slot.dataset.slot, slot]);
    element.replaceChildren(...told(element.dataset.t, Object.fromEntries(slots)));
  }
  for (const name of ATTRIBUTES) {
    for (const element of root.querySelectorAll(`[data-t-${name}]`)) element.setAttribute(name, t(element.getAttribute(`data-t-${name}`)));
  }
}

// What a language calls itself.
function ownName(code) {
  const name = new Intl.DisplayNames(code, { type: "language" }).of(code);
  return name[0].toLocaleUpperCase(code) + name.slice(1);
}

let leave = () => {};
// `act()` is called before the page is loaded anew in another language.
export const whenLeaving = (act) => { leave = act; };

function choose(code) {
  try { localStorage.setItem(REMEMBERED, code); } catch { return; /* private mode: it can't be kept over the reload */ }
  leave();
  location.reload();
}

function offer(select) {
  for (const code of LANGUAGES) {
    const option = new Option(ownName(code), code, false, code === language);
    option.lang = code;
    select.append(option);
  }
  // A list that is closed changes with every arrow: by keys, Enter or leaving it chooses.
  let stepping = false;
  const done = () => { if (select.value !== language) choose(select.value); };
  select.addEventListener("pointerdown", () => { stepping = false; });
  select.addEventListener("keydown", (event) => {
    stepping = true;
    if (event.key === "Enter") done();
  });
  select.addEventListener("change", () => { if (!stepping) done(); });
  select.addEventListener("blur", done);
}

// At once, not when the other modules are there: what can be read is shown as soon as its words are.
document.documentElement.lang = language;
dress(document);
document.querySelectorAll("select[data-languages]").forEach(offer);
document.documentElement.classList.add("speaks");
