/** Sends a file, and says how much of it has gone. */

import { address, answerOf } from "./api.js";
import { unreachable } from "./problem.js";

/**
 * Return `{status, answer}` when the service has answered; throws Problem, or the signal's reason.
 * `onProgress` hears the share that was sent: at 1, the service has it all and works on it.
 */
export function send(path, { file, fields = {}, query = {}, signal, onProgress }) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) if (value) form.append(name, value);
  form.append("file", file, file.name);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not say how much was sent
    request.open("POST", address(path, query));
    request.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    request.upload.addEventListener("load", () => onProgress(1));
    request.addEventListener("load", () => {
      try {
        resolve({ status: request.status, answer: answerOf(request.status, request.responseText) });
      } catch (error) {
        reject(error);
      }
    });
    request.addEventListener("error", () => reject(unreachable()));
    request.addEventListener("abort", () => reject(signal.reason));
    signal.throwIfAborted();
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}
