// Asks the plugins behind the gateway. There are two kinds of "no": the one that is final, and the one
// that is worth another try.

const PATIENCE = 15_000;

/** The request was understood and refused; asking again changes nothing. */
export class Refused extends Error {
  constructor(status, problem) {
    super(problem.detail ?? problem.title ?? `answer ${status}`);
    this.status = status;
    this.problem = problem;
  }
}

/** Nobody answered who could have said yes or no. */
export class Unavailable extends Error {
  constructor(reason, retryAfter) {
    super(reason);
    this.retryAfter = retryAfter;
  }
}

/** Gives the answer's status, headers and JSON body. */
export async function call(method, path, { body, headers = {} } = {}) {
  let response;
  let content;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? headers : { "Content-Type": "application/json", ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      signal: AbortSignal.timeout(PATIENCE),
    });
    content = await read(response);
  } catch (error) {
    throw new Unavailable(error.name === "TimeoutError" ? "no answer in time" : "no connection");
  }
  if (response.ok) return { status: response.status, headers: response.headers, body: content };
  if (isPassing(response.status, content)) {
    throw new Unavailable(content.detail ?? `answer ${response.status}`, seconds(response.headers));
  }
  throw new Refused(response.status, content);
}

/** How long an answer asks to be left alone, in milliseconds. */
export function seconds(headers) {
  const value = Number(headers.get("Retry-After") ?? Number.NaN);
  return Number.isFinite(value) ? value * 1000 : undefined;
}

export function sleep(milliseconds) {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** A random UUID. The browser's own function is missing where the page came without TLS. */
export function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}

async function read(response) {
  const text = await response.text();
  try {
    return JSON.parse(text) ?? {};
  } catch {
    return {};
  }
}

function isPassing(status, { code }) {
  // No route: the plugin is not there (yet), as this page asks for nothing else that could be missing.
  return status === 404 || status === 408 || status === 429 || status >= 500 || code === "idempotency_key_in_use";
}
