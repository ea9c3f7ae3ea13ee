// Server-sent events out of a byte stream that may be cut anywhere (WHATWG HTML, section 9.2.6).

export class EventParser {
  #decoder = new TextDecoder("utf-8");
  #rest = "";
  #skipNewline = false;
  #type = "";
  #data = [];

  // Takes the next bytes (Uint8Array, any length) and returns the events they complete: [{type, data}].
  push(bytes) {
    let text = this.#decoder.decode(bytes, { stream: true });
    if (this.#skipNewline && text) {
      if (text[0] === "\n") text = text.slice(1);
      this.#skipNewline = false;
    }
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    // A CR at the very end may be the first half of CRLF: the line is over, a LF that follows is not another.
    if (text.endsWith("\r")) this.#skipNewline = true;
    this.#rest = lines.pop();
    const events = [];
    for (const line of lines) this.#line(line, events);
    return events;
  }

  #line(line, events) {
    if (line === "") {
      if (this.#data.length) events.push({ type: this.#type || "message", data: this.#data.join("\n") });
      this.#type = "";
      this.#data = [];
      return;
    }
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") this.#type = value;
    else if (field === "data") this.#data.push(value);
  }
}

// Yields the events of a fetch response; ends when the body ends, throws when it breaks or is aborted.
export async function* eventsOf(response) {
  const parser = new EventParser();
  const reader = response.body.getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      yield* parser.push(value);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
