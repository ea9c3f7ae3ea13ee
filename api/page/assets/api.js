// The service's HTTP interface as the page uses it; every failure becomes a Problem.

import { eventsOf } from "./sse.js";

// `code` is the service's stable code, or `unreachable`, `interrupted`, `unexpected` for what the page itself saw; `detail` what
// the service says, or nothing.
export class Problem extends Error {
  constructor(code, detail = "", status = 0, body = {}) {
    super(detail || code);
    this.code = code;
    this.detail = detail;
    this.status = status;
    this.body = body;
  }
}

export function problemOf(status, body) {
  const detail = body?.detail || body?.title || "";
  return new Problem(body?.code || "unexpected", String(detail), status, body ?? {});
}

// Tells with `signedout` that the service wants to know who asks.
export const signedOut = new EventTarget();

function refused(status, body) {
  if (status === 401) signedOut.dispatchEvent(new Event("signedout"));
  return problemOf(status, body);
}

const segment = encodeURIComponent;
const isAbort = (error) => error?.name === "AbortError";

export async function send(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new Problem("unreachable");
  }
  if (!response.ok) throw refused(response.status, await response.json().catch(() => null));
  return response;
}

export const getJson = async (path, options) => (await send(path, options)).json();
export const postJson = (path, body, options = {}) =>
  send(path, { method: "POST", ...options, headers: { "Content-Type": "application/json", ...options.headers }, body: JSON.stringify(body) });

// Not by `send`: that the key is wrong is said where it was typed.
export async function signIn(key) {
  const body = JSON.stringify({ key });
  const response = await fetch("session", { method: "POST", headers: { "Content-Type": "application/json" }, body })
    .catch(() => { throw new Problem("unreachable"); });
  if (!response.ok) throw problemOf(response.status, await response.json().catch(() => null));
}

export const signOut = () => send("session", { method: "DELETE" });
export const signInWays = () => getJson("session");

// {ready, checks} whatever the status: 503 is an answer here.
export async function readiness() {
  const response = await fetch("readyz", { cache: "no-store" });
  return response.json();
}

export const listCollections = async () => (await getJson("collections")).collections;
export const createCollection = async (name) => (await postJson("collections", { name })).json();

export function listDocuments(collection, { limit = 100, cursor = null } = {}) {
  const query = new URLSearchParams({ collection, limit });
  if (cursor) query.set("cursor", cursor);
  return getJson(`documents?${query}`);
}

// What a question or a search is asked of: the collection, or the documents of it that were chosen.
export const within = ({ collection, chosen }) => ({ collection, ...(chosen.length ? { document_ids: chosen } : {}) });

export const search = async (body, signal) => (await (await postJson("search", body, { signal })).json()).results;

export const getDocument = (id) => getJson(`documents/${segment(id)}`);
export const deleteDocument = (id) => send(`documents/${segment(id)}`, { method: "DELETE" });
export const retryDocument = async (id) => (await send(`documents/${segment(id)}/retry`, { method: "POST" })).json();
export const cancelDocument = async (id) => (await send(`documents/${segment(id)}/cancel`, { method: "POST" })).json();
export const listVersions = async (id) => (await getJson(`documents/${segment(id)}/versions`)).versions;
// Merges into the metadata; null removes a member. Resolves to the document.
export const changeMetadata = async (id, metadata) => (await postJson(`documents/${segment(id)}`, { metadata }, { method: "PATCH" })).json();
export const originalOf = (id) => `documents/${segment(id)}/content`;
export const getPage = (id, number) => getJson(`documents/${segment(id)}/pages/${number}`);
export const pictureOf = (id, number, width) => `documents/${segment(id)}/pages/${number}/picture?width=${width}`;
// {width, height, boxes}: where the passage stands on the page's picture, as fractions of its size.
export const getBoxes = (id, number, start, end) => getJson(`documents/${segment(id)}/pages/${number}/boxes?start=${start}&end=${end}`);
export const getText = async (id, start, end) =>
  (await send(`documents/${segment(id)}/text?start=${start}&end=${end}`)).text();

// Sends one file; `progress(fraction)` is called on the way. Resolves to the document's {id, filename, status, job_id}.
// XMLHttpRequest, because fetch cannot tell how much of a body has been sent.
export function uploadFile(file, { collection, metadata, progress, signal }) {
  const form = new FormData();
  form.append("collection", collection);
  if (metadata) form.append("metadata", JSON.stringify(metadata));
  return sendFile("POST", "documents", form, file, { progress, signal });
}

// Sends a file as a document's next version, likewise.
export const replaceFile = (id, file, how) => sendFile("PUT", `documents/${segment(id)}`, new FormData(), file, how);

function sendFile(method, path, form, file, { progress, signal }) {
  form.append("file", file, file.name);
  const request = new XMLHttpRequest();
  return new Promise((resolve, reject) => {
    request.open(method, path);
    request.responseType = "json";
    request.upload.onprogress = (event) => event.lengthComputable && progress(event.loaded / event.total);
    request.onload = () => {
      if (request.status >= 200 && request.status < 300) resolve(request.response.documents[0]);
      else reject(refused(request.status, request.response));
    };
    request.onerror = () => reject(new Problem("unreachable"));
    request.onabort = () => reject(new DOMException("aborted", "AbortError"));
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export const listConversations = (cursor) => getJson(`conversations?limit=50${cursor ? `&cursor=${segment(cursor)}` : ""}`);
export const createConversation = async (collection) => (await postJson("conversations", { collection })).json();
export const getConversation = (id) => getJson(`conversations/${segment(id)}`);
export const changeConversation = async (id, change) => (await postJson(`conversations/${segment(id)}`, change, { method: "PATCH" })).json();
export const deleteConversation = (id) => send(`conversations/${segment(id)}`, { method: "DELETE" });
export const exportOf = (id) => `conversations/${segment(id)}/export?format=markdown`;

export const whoAmI = () => getJson("me");
export const getAnswer = (id) => getJson(`answers/${segment(id)}`);
// What one says of an answer: {correct, comment, wrong_citations}.
export const judgeAnswer = async (id, said) => (await postJson(`answers/${segment(id)}/feedback`, said)).json();
export const takeBack = (id) => send(`answers/${segment(id)}/feedback`, { method: "DELETE" });
export const replayAnswer = async (id) => (await send(`answers/${segment(id)}/replay`, { method: "POST" })).json();

// Asks and yields {type, data} with parsed data until `done`; an `error` event or a broken stream is thrown.
export async function* ask(body, signal) {
  const response = await postJson("query", { ...body, stream: true }, { signal, headers: { Accept: "text/event-stream" } });
  try {
    for await (const { type, data } of eventsOf(response)) {
      const parsed = JSON.parse(data);
      if (type === "error") throw problemOf(parsed.status ?? 0, parsed);
      yield { type, data: parsed };
      if (type === "done") return;
    }
  } catch (error) {
    if (isAbort(error) || error instanceof Problem) throw error;
    throw new Problem("interrupted");
  }
  throw new Problem("interrupted");
}
