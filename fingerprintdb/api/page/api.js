/** Asks the service, and says so where it wants a key. */

import { Problem, problemOf, unreachable } from "./problem.js";

const refusals = new EventTarget();

/** Have a function called whenever the service wants a key. */
export function onKeyNeeded(listener) {
  refusals.addEventListener("key", listener);
}

/** Return an answer's JSON, null where it has none; throws Problem. */
export async function ask(method, path, { query = {}, json, form, signal } = {}) {
  let response;
  let text;
  try {
    response = await fetch(address(path, query), {
      method,
      signal,
      headers: json === undefined ? {} : { "Content-Type": "application/json" },
      body: json === undefined ? form : JSON.stringify(json),
    });
    text = await response.text();
  } catch (error) {
    throw signal?.aborted ? error : unreachable();
  }
  return answerOf(response.status, text);
}

/** Return an address with those parameters that have a value. */
export function address(path, query = {}) {
  const given = Object.entries(query).filter(
    ([, value]) => value !== "" && value !== null && value !== undefined,
  );
  return given.length ? `${path}?${new URLSearchParams(given)}` : path;
}

/** Return what was answered, or throw the Problem that it tells of. */
export function answerOf(status, text) {
  if (status >= 200 && status < 300) return read(status, text);
  if (status === 401) refusals.dispatchEvent(new Event("key"));
  throw problemOf(status, text);
}

function read(status, text) {
  if (!text) return null;
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem({ status, detail: "the service answered with something that is not JSON" });
  }
}
