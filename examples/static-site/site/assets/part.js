// A part of the shop that may be away: asks it again and again, and says so while it does not answer.

import { Refused, Unavailable } from "./api.js";
import { every, one } from "./dom.js";

const PAUSE = 5_000;
const LONGEST_PAUSE = 30_000;

export class Part {
  #name;
  #title;
  #load;
  #timer;
  #failures = 0;
  #running = false;
  #again = false;

  /** `load` asks the part and shows what it says; it throws when the part is away. */
  constructor(name, title, load) {
    this.#name = name;
    this.#title = title;
    this.#load = load;
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** Asks now, and then from time to time while somebody looks. */
  async refresh() {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    clearTimeout(this.#timer);
    try {
      await this.#load();
      this.#failures = 0;
      this.#show("available", "");
    } catch (error) {
      this.#failures += 1;
      this.#show("away", `${this.#title} not available just now (${reason(error)}). Trying again by itself.`);
    } finally {
      this.#running = false;
    }
    if (this.#again) {
      this.#again = false;
      this.refresh();
    } else if (!document.hidden) {
      const pause = this.#failures ? Math.min(1_000 * 2 ** this.#failures, LONGEST_PAUSE) : PAUSE;
      this.#timer = setTimeout(() => this.refresh(), pause);
    }
  }

  #show(state, text) {
    one(`[data-testid=part][data-part=${this.#name}]`).dataset.state = state;
    for (const note of every(`[data-testid=away][data-part=${this.#name}]`)) {
      // Said once, not at every try.
      if (note.textContent !== text) note.textContent = text;
      note.hidden = !text;
    }
  }
}

function reason(error) {
  if (error instanceof Unavailable || error instanceof Refused) return error.message;
  // A fault of this page, or a part that is not what this page takes it for.
  console.error(error);
  return "its answer is not understood";
}
