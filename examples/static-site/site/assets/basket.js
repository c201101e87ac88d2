// What somebody wants to buy. Survives a reload of the page, not the end of the visit.

import { element, one, setText } from "./dom.js";
import { money } from "./money.js";

const KEY = "basket";

export class Basket {
  #stock;
  #wanted = new Map();
  #rows = new Map();
  #busy = false;
  #list = one("[data-testid=lines]");
  #button = one("[data-testid=order]");

  constructor(stock) {
    this.#stock = stock;
    this.#restore();
  }

  /** As orders list it. */
  get items() {
    return Array.from(this.#wanted, ([sku, quantity]) => ({ sku, quantity }));
  }

  add(sku) {
    this.#set(sku, (this.#wanted.get(sku) ?? 0) + 1);
  }

  clear() {
    this.#wanted.clear();
    this.#changed();
  }

  /** Locked while an order is on its way. */
  set busy(busy) {
    this.#busy = busy;
    this.render();
  }

  render() {
    for (const [sku, row] of this.#rows) {
      if (!this.#wanted.has(sku)) {
        row.node.remove();
        this.#rows.delete(sku);
      }
    }
    for (const [sku, quantity] of this.#wanted) {
      let row = this.#rows.get(sku);
      if (!row) {
        row = this.#newRow(sku);
        this.#rows.set(sku, row);
        this.#list.append(row.node);
      }
      row.update(this.#stock.items.get(sku), quantity);
    }
    one("[data-testid=basket-empty]").hidden = this.#wanted.size > 0;
    setText(one("[data-testid=total]"), this.#total());
    this.#button.disabled = this.#busy || this.#wanted.size === 0;
    setText(this.#button, this.#busy ? "Placing the order …" : "Place the order");
  }

  #set(sku, quantity) {
    if (this.#busy) return;
    if (quantity > 0) this.#wanted.set(sku, quantity);
    else this.#wanted.delete(sku);
    this.#changed();
  }

  #changed() {
    try {
      sessionStorage.setItem(KEY, JSON.stringify([...this.#wanted]));
    } catch {
      // Storage is off: the basket lasts as long as the page.
    }
    this.render();
  }

  #restore() {
    try {
      const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
      this.#wanted = new Map(kept.filter(([sku, quantity]) => typeof sku === "string" && quantity > 0));
    } catch {
      this.#wanted = new Map();
    }
  }

  #newRow(sku) {
    const change = (by) => () => this.#set(sku, (this.#wanted.get(sku) ?? 0) + by);
    const name = element("span", { class: "name" });
    const price = element("span", { class: "price" });
    const quantity = element("output", { "data-testid": "quantity" });
    const less = element("button", { type: "button", "data-testid": "less", onclick: change(-1) }, "−");
    const more = element("button", { type: "button", "data-testid": "more", onclick: change(1) }, "+");
    const steps = element("span", { class: "steps" }, less, quantity, more);
    const node = element("li", { "data-testid": "line", "data-sku": sku }, name, steps, price);
    const update = (item, wanted) => {
      const title = item?.name ?? sku;
      setText(name, title);
      setText(quantity, String(wanted));
      setText(price, item ? money(item.price * wanted, item.currency) : "");
      less.setAttribute("aria-label", `One ${title} less`);
      more.setAttribute("aria-label", `One ${title} more`);
      less.disabled = this.#busy;
      more.disabled = this.#busy || (item !== undefined && wanted >= item.available);
    };
    return { node, update };
  }

  /** A sum for each currency: they are not to be added up. */
  #total() {
    const sums = new Map();
    for (const [sku, quantity] of this.#wanted) {
      const item = this.#stock.items.get(sku);
      if (item) sums.set(item.currency, (sums.get(item.currency) ?? 0) + item.price * quantity);
    }
    return Array.from(sums, ([currency, sum]) => money(sum, currency)).join(" + ") || "–";
  }
}
