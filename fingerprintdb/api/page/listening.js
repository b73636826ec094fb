/** Lets the service hear the microphone over a WebSocket, until it is sure or is asked. */

import { ask } from "./api.js";
import { Microphone } from "./microphone.js";
import { Problem, problemOf, unreachable } from "./problem.js";

/** A stretch of listening. */
export class Listening {
  /** The microphone, for the eye. */
  microphone;
  #socket;
  #pieces = [];
  #isCancelled = false;

  /** Open microphone and socket; throws Problem. */
  static async begin() {
    const listening = new Listening();
    listening.microphone = await Microphone.open((piece) => listening.#hand(piece));
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    listening.#socket = new WebSocket(`${scheme}//${location.host}/api/v1/listen?format=container`);
    listening.#socket.addEventListener("open", () => {
      for (const piece of listening.#pieces) listening.#socket.send(piece);
    });
    return listening;
  }

  /** Return the answer and all that was heard, as a file; null if cancelled. Throws Problem. */
  async answer(onHeard) {
    try {
      const answer = await this.#answered(onHeard);
      await this.microphone.close();
      const type = this.#pieces[0]?.type ?? "";
      return { answer, file: new File(this.#pieces, "microphone", { type }) };
    } catch (error) {
      if (this.#isCancelled) return null;
      throw error;
    } finally {
      this.#socket.close();
      await this.microphone.close();
    }
  }

  /** Ask for the answer now. */
  async end() {
    await this.microphone.close();
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send("end");
    else this.#socket.addEventListener("open", () => this.#socket.send("end"));
  }

  /** Forget what was heard. */
  cancel() {
    this.#isCancelled = true;
    this.#socket.close();
  }

  #hand(piece) {
    this.#pieces.push(piece);
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(piece);
  }

  #answered(onHeard) {
    return new Promise((resolve, reject) => {
      let isAnswered = false;
      this.#socket.addEventListener("message", ({ data }) => {
        const told = JSON.parse(data);
        if (told.event === "listening") {
          onHeard(told.heard_sec);
          return;
        }
        isAnswered = true;
        if (told.event === "answer") resolve(told);
        else reject(problemOf(told.problem.status, JSON.stringify(told.problem)));
      });
      this.#socket.addEventListener("close", () => {
        if (isAnswered) return;
        if (this.#isCancelled) reject(new Problem({ detail: "cancelled" }));
        // Why a socket was refused, a browser does not say; another request is told.
        else ask("GET", "/api/v1/stats").then(() => reject(unreachable()), reject);
      });
    });
  }
}
