// Who is here: a random name for this browser and one for this visit. Counts the visit.

import { call, newId, sleep } from "./api.js";

const MOST_TRIES = 5;

export const customer = kept(() => localStorage, "customer", "guest");
const session = kept(() => sessionStorage, "session", "visit");

/** Tells that the page was opened. It is counted once, however often it is told. */
export async function countVisit() {
  const event = {
    id: newId(),
    type: "page_view",
    user_id: customer,
    session_id: session,
    properties: { path: location.pathname, referrer: document.referrer },
    timestamp: new Date().toISOString(),
  };
  for (let tried = 1; tried <= MOST_TRIES; tried++) {
    try {
      await call("POST", "/api/analytics/track", { body: event });
      return;
    } catch {
      // Analytics are away, and that is said elsewhere: the shop works without them.
      await sleep(1_000 * 2 ** tried);
    }
  }
}

function kept(storage, key, prefix) {
  const made = `${prefix}-${newId().slice(0, 8)}`;
  try {
    const known = storage().getItem(key);
    if (known) return known;
    storage().setItem(key, made);
  } catch {
    // Storage is off: a new name for each page.
  }
  return made;
}
