// The live dashboard, which the analytics plugin draws itself. Shown while there is one to show: a frame
// with an error in it helps nobody.

import { call } from "./api.js";
import { one } from "./dom.js";

const ADDRESS = "/api/analytics/dashboard?embed=1";

export class Dashboard {
  #frame = one("[data-testid=dashboard]");

  async load() {
    try {
      await call("GET", ADDRESS);
    } catch (error) {
      this.#frame.hidden = true;
      this.#frame.removeAttribute("src");
      throw error;
    }
    if (!this.#frame.hasAttribute("src")) this.#frame.src = ADDRESS;
    this.#frame.hidden = false;
  }
}
