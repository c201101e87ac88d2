// Places an order, once: every try carries the same key, so that an answer that got lost costs nothing.

import { Refused, Unavailable, call, newId, seconds, sleep } from "./api.js";

const MOST_TRIES = 6;
const LONGEST_PAUSE = 8_000;
const LONGEST_WORK = 120_000;

/** Has a key of its own, which stays the same until somebody has said yes or no. */
export class Checkout {
  #key;
  #ordered;

  /**
   * Gives `{kind, order?, problem?, reason?}`; the kind is `completed`, `rejected`, `invalid`, `pending`
   * (still in work after a long time) or `unavailable`. `progress` is told what happens on the way.
   */
  async place(wanted, progress) {
    const ordered = JSON.stringify(wanted);
    if (this.#ordered !== ordered) {
      this.#ordered = ordered;
      this.#key = newId();
    }
    try {
      const { body: order, headers } = await this.#send(wanted, progress);
      this.#ordered = undefined;
      return outcome(order.status === "pending" ? await this.#await(order, headers, progress) : order);
    } catch (error) {
      if (error instanceof Unavailable) return { kind: "unavailable", reason: error.message };
      if (!(error instanceof Refused)) throw error;
      this.#ordered = undefined;
      const { order } = error.problem;
      return { kind: order ? "rejected" : "invalid", order, problem: error.problem, reason: error.message };
    }
  }

  async #send(wanted, progress) {
    for (let tried = 1; ; tried++) {
      try {
        return await call("POST", "/api/orders", { body: wanted, headers: { "Idempotency-Key": this.#key } });
      } catch (error) {
        if (!(error instanceof Unavailable) || tried === MOST_TRIES) throw error;
        progress({ kind: "retrying", reason: error.message });
        await sleep(Math.min(error.retryAfter ?? 500 * 2 ** tried, LONGEST_PAUSE));
      }
    }
  }

  /** The order is accepted and worked on; gives it when that is over, or as it is in the end. */
  async #await(accepted, headers, progress) {
    const path = headers.get("Location") ?? `/api/orders/${encodeURIComponent(accepted.id)}`;
    const end = Date.now() + LONGEST_WORK;
    let order = accepted;
    let pause = seconds(headers);
    while (order.status === "pending" && Date.now() < end) {
      progress({ kind: "pending", order });
      await sleep(Math.min(pause ?? 1_000, LONGEST_PAUSE));
      try {
        const answer = await call("GET", path);
        order = answer.body;
        pause = seconds(answer.headers);
      } catch (error) {
        if (!(error instanceof Unavailable)) throw error;
        pause = error.retryAfter;
      }
    }
    return order;
  }
}

function outcome(order) {
  return { kind: order.status, order, reason: order.reason };
}
