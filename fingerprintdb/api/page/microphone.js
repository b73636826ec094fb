/** Opens the microphone, and explains why where it cannot. */

import { Problem } from "./problem.js";

const FORMATS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];
const CHUNK_MS = 500;

const REFUSALS = {
  NotAllowedError: [
    "the browser keeps the microphone from this page",
    "allow it in the address bar or the browser's settings, and try again",
  ],
  NotFoundError: ["there is no microphone here", "connect one, or choose a file"],
  NotReadableError: [
    "the microphone is in use by another program, or switched off",
    "free it, and try again",
  ],
};

/** An open microphone, recording. */
export class Microphone {
  #stream;
  #recorder;
  #sound;

  /** Open it; `onSound` is called with a Blob twice a second. Throws Problem. */
  static async open(onSound) {
    if (!isSecureContext) {
      throw new Problem({
        detail: "browsers lend the microphone to secure pages only",
        remedy: "open this page over https, or at localhost; a file can be chosen anyway",
      });
    }
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) {
      throw new Problem({
        detail: "this browser cannot record",
        remedy: "choose a file in its place",
      });
    }
    // What makes speech clearer takes music apart.
    const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    try {
      return new Microphone(await navigator.mediaDevices.getUserMedia({ audio }), onSound);
    } catch (error) {
      const [detail, remedy] = REFUSALS[error.name] ?? [
        `the microphone does not open: ${error.message}`,
        "choose a file in its place",
      ];
      throw new Problem({ detail, remedy });
    }
  }

  constructor(stream, onSound) {
    this.#stream = stream;
    const mimeType = FORMATS.find((format) => MediaRecorder.isTypeSupported(format));
    this.#recorder = new MediaRecorder(stream, { mimeType, audioBitsPerSecond: 128_000 });
    this.#recorder.addEventListener("dataavailable", ({ data }) => data.size && onSound(data));
    this.#recorder.start(CHUNK_MS);
    this.#sound = new AudioContext();
    this.#sound.resume(); // some browsers have it begin asleep
  }

  /** Return what hears its spectrum, for the eye. */
  analyser() {
    const analyser = this.#sound.createAnalyser();
    analyser.fftSize = 2048;
    analyser.smoothingTimeConstant = 0.3;
    this.#sound.createMediaStreamSource(this.#stream).connect(analyser);
    return analyser;
  }

  /** Stop, once the last sound has been handed on. */
  async close() {
    if (this.#recorder.state !== "inactive") {
      const stopped = new Promise((resolve) =>
        this.#recorder.addEventListener("stop", resolve, { once: true }),
      );
      this.#recorder.stop();
      await stopped;
    }
    for (const track of this.#stream.getTracks()) track.stop();
    if (this.#sound.state !== "closed") await this.#sound.close();
  }
}
