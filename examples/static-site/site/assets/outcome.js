// Says what became of an order.

import { element, one } from "./dom.js";
import { money } from "./money.js";

const TITLES = {
  completed: "Thank you!",
  pending: "Your order is being worked on",
  retrying: "Nobody takes orders just now",
  rejected: "The order was not accepted",
  invalid: "The order cannot be placed like this",
  unavailable: "The order could not be placed",
};

/** What a rejected order's reason means to somebody who buys. */
const REASONS = {
  insufficient_stock: "Somebody was faster: there is not enough left.",
  items_refused: "Some of it is not for sale any more.",
  payment_declined: "The card was declined.",
  payment_refused: "It cannot be paid like this.",
  reservation_lost: "It took too long, and somebody else got it.",
};

export class Outcome {
  #box = one("[data-testid=outcome]");

  /** Before an order: what was said of another one is over. */
  clear() {
    this.#box.hidden = true;
    this.#box.dataset.outcome = "none";
  }

  /** `named` gives the name of the product at a place in the order. */
  show({ kind, order, problem, reason }, named) {
    const facts = [...sentences(kind, order, problem, reason)].map((text) => element("p", {}, text));
    const errors = (problem?.errors ?? []).map(({ pointer, detail }) =>
      element("li", { "data-testid": "field-error", "data-pointer": pointer }, place(pointer, named), detail));
    if (errors.length) facts.push(element("ul", {}, ...errors));
    this.#box.replaceChildren(element("h3", {}, TITLES[kind] ?? kind), ...facts);
    this.#box.dataset.outcome = kind;
    this.#box.dataset.code = problem?.code ?? "";
    this.#box.dataset.orderId = order?.id ?? "";
    this.#box.hidden = false;
  }
}

function* sentences(kind, order, problem, reason) {
  if (kind === "completed") yield `Order ${order.id}: ${money(order.total, order.currency)} paid.`;
  if (kind === "pending") yield `Order ${order.id} goes on by itself, also when this page is closed.`;
  if (kind === "retrying") yield `${sentence(reason)} Trying again; you will not pay twice.`;
  if (kind === "unavailable") yield `${sentence(reason)} Place it again later; you will not pay twice.`;
  if (kind === "invalid") yield sentence(reason);
  if (kind === "rejected") {
    // The answer's own words know most; an order that was rejected later has a code only.
    yield problem ? sentence(reason) : (REASONS[reason] ?? sentence(reason ?? "no reason was given"));
    yield "You pay nothing, and the basket is as it was.";
  }
}

/** Details come without a capital letter and a full stop. */
function sentence(text) {
  const words = text.replaceAll("_", " ").trim();
  return `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;
}

/** The field in words: the product's name where it is one of the items. */
function place(pointer, named) {
  const item = /^#\/items\/(\d+)/.exec(pointer);
  const name = item && named(Number(item[1]));
  return name ? `${name}: ` : `${pointer.replace(/^#\/?/, "") || "the order"}: `;
}
