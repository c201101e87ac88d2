// The products: what they cost and what is left of them.

import { call } from "./api.js";
import { element, one, setText } from "./dom.js";
import { money } from "./money.js";

const FEW = 5;
const MOST_PAGES = 5;

export class Stock {
  #list = one("[data-testid=products]");
  #cards = new Map();
  #add;
  /** The items by SKU, as they were last seen. */
  items = new Map();

  constructor(add) {
    this.#add = add;
  }

  async load() {
    const found = new Map();
    let after = "";
    for (let page = 0; page < MOST_PAGES; page++) {
      const { body } = await call("GET", `/api/inventory/items?limit=200${after}`);
      for (const item of body.items) found.set(item.sku, item);
      if (!body.next) break;
      after = `&after=${encodeURIComponent(body.next)}`;
    }
    this.items = found;
    this.#render();
  }

  #render() {
    for (const [sku, card] of this.#cards) {
      if (!this.items.has(sku)) {
        card.node.remove();
        this.#cards.delete(sku);
      }
    }
    for (const item of this.items.values()) {
      let card = this.#cards.get(item.sku);
      if (!card) {
        card = this.#newCard(item.sku);
        this.#cards.set(item.sku, card);
        this.#list.append(card.node);
      }
      card.update(item);
    }
  }

  #newCard(sku) {
    const picture = element("div", { class: "picture", "aria-hidden": "true" });
    picture.style.setProperty("--hue", hue(sku));
    const name = element("h3");
    const price = element("p", { class: "price", "data-testid": "price" });
    const left = element("p", { class: "left", "data-testid": "left" });
    const button = element("button", { type: "button", "data-testid": "add", "data-sku": sku, onclick: () => this.#add(sku) });
    const facts = element("div", { class: "facts" }, name, price, left, button);
    const node = element("li", { class: "product", "data-testid": "product", "data-sku": sku }, picture, facts);
    const update = (item) => {
      setText(picture, initials(item.name));
      setText(name, item.name);
      setText(price, money(item.price, item.currency));
      setText(left, item.available > 0 ? `${item.available} left` : "Sold out");
      left.dataset.state = item.available === 0 ? "none" : item.available <= FEW ? "few" : "enough";
      node.dataset.available = item.available;
      setText(button, "Add to basket");
      button.setAttribute("aria-label", `Add ${item.name} to the basket`);
      button.disabled = item.available === 0;
    };
    return { node, update };
  }
}

/** A colour for each product, always the same. */
function hue(sku) {
  let sum = 7;
  for (const letter of sku) sum = (sum * 31 + letter.codePointAt(0)) % 9973;
  // Steps of the golden angle keep neighbours apart.
  return Math.round((sum * 137.5) % 360);
}

function initials(name) {
  const words = name.split(/\s+/).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("");
}
