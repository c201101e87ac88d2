// Puts the parts of the page together.

import { Basket } from "./basket.js";
import { Checkout } from "./checkout.js";
import { Dashboard } from "./dashboard.js";
import { one } from "./dom.js";
import { Orders } from "./orders.js";
import { Outcome } from "./outcome.js";
import { Part } from "./part.js";
import { Stock } from "./stock.js";
import { countVisit, customer } from "./visit.js";

const stock = new Stock((sku) => basket.add(sku));
const basket = new Basket(stock);
const orders = new Orders();
const dashboard = new Dashboard();
const checkout = new Checkout();
const outcome = new Outcome();

const parts = {
  stock: new Part("stock", "The stock is", async () => {
    await stock.load();
    basket.render();
  }),
  orders: new Part("orders", "The orders are", () => orders.load()),
  analytics: new Part("analytics", "The dashboard is", () => dashboard.load()),
};

const form = one("[data-testid=basket]");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const wanted = {
    customer_id: customer,
    payment_method: new FormData(form).get("card"),
    items: basket.items,
  };
  const named = (index) => stock.items.get(wanted.items[index]?.sku)?.name;
  const show = (state) => outcome.show(state, named);
  outcome.clear();
  basket.busy = true;
  try {
    const result = await checkout.place(wanted, show);
    show(result);
    if (result.kind === "completed" || result.kind === "pending") basket.clear();
  } finally {
    basket.busy = false;
    parts.stock.refresh();
    parts.orders.refresh();
  }
});

basket.render();
for (const part of Object.values(parts)) part.refresh();
countVisit();
