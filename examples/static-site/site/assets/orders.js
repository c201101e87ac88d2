// The last orders of everybody: it is a shop to try things with.

import { call } from "./api.js";
import { element, one } from "./dom.js";
import { money } from "./money.js";

export class Orders {
  #table = one("[data-testid=orders]");
  #shown;

  async load() {
    const { body } = await call("GET", "/api/orders?limit=10");
    const seen = JSON.stringify(body.items);
    if (seen === this.#shown) return;
    this.#shown = seen;
    one("tbody", this.#table).replaceChildren(...body.items.map(row));
    this.#table.hidden = body.items.length === 0;
    one("[data-testid=orders-empty]").hidden = body.items.length > 0;
  }
}

function row(order) {
  const when = new Date(order.created_at);
  const count = order.items.reduce((sum, { quantity }) => sum + quantity, 0);
  const what = order.items.map(({ sku, quantity }) => `${quantity} × ${sku}`).join(", ");
  const status = element("span", { class: "status", "data-state": order.status }, order.status);
  const attributes = { "data-testid": "order-row", "data-order-id": order.id, "data-status": order.status };
  return element(
    "tr",
    attributes,
    element("td", {}, element("code", { title: order.id }, short(order.id))),
    element("td", {}, element("time", { datetime: order.created_at, title: when.toLocaleString() }, when.toLocaleTimeString())),
    element("td", { title: what }, String(count)),
    element("td", { class: "amount" }, order.currency ? money(order.total, order.currency) : "–"),
    element("td", {}, status, order.reason ? element("small", {}, ` ${order.reason.replaceAll("_", " ")}`) : ""),
  );
}

/** Ids that are made one after another differ at their ends. */
function short(id) {
  return id.length > 14 ? `…${id.slice(-8)}` : id;
}
