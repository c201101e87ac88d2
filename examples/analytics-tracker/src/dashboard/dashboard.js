"use strict";
// Asks for the numbers, follows the events, and keeps both up to date.
const RANGES = {
  "15m": { length: 15 * MINUTE, step: MINUTE, name: "minute", words: "15 min" },
  "1h": { length: HOUR, step: MINUTE, name: "minute", words: "hour" },
  "24h": { length: 24 * HOUR, step: HOUR, name: "hour", words: "24 h" },
  "7d": { length: 7 * 24 * HOUR, step: HOUR, name: "hour", words: "7 days" },
};
const REFRESH = 30_000;
// An event shows in the numbers after this; however many come, no sooner than this after the last time.
const SOON = 250;
const PACE = 3_000;
const COMEBACK = 2_000;

const chart = new Chart(document.getElementById("chart"));
const feed = new Feed(document.getElementById("feed"), document.getElementById("count"));
const connection = document.getElementById("connection");
const trouble = document.getElementById("trouble");
let range = "1h";
let round = 0;
let due = null;
let refreshed = 0;

async function ask(question) {
  const response = await fetch("query", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(question),
  });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.detail ?? `the answer was ${response.status}`);
  return answer.groups;
}

// All numbers of one period.
async function measure(start, end, { name }) {
  const time = { start: new Date(start).toISOString(), end: new Date(end).toISOString() };
  const [series, types, [everybody], sales] = await Promise.all([
    ask({ ...time, group_by: [name] }),
    ask({ ...time, group_by: ["type"] }),
    ask({ ...time, aggregates: [{ function: "distinct", field: "user_id" }] }),
    ask({
      ...time,
      event_type: "order_completed",
      group_by: ["properties.currency"],
      aggregates: [{ function: "count" }, { function: "sum", field: "properties.total_amount" }],
    }),
  ]);
  const counts = new Map(series.map(({ key, values }) => [Date.parse(key[name]), values.count]));
  const revenue = sales
    .map(({ key, values }) => [key["properties.currency"] ?? "", values["sum(properties.total_amount)"]])
    .filter(([, amount]) => amount !== null);
  return {
    counts,
    types: types.map(({ key, values }) => ({ type: key.type, count: values.count })),
    events: types.reduce((sum, { values }) => sum + values.count, 0),
    users: everybody.values["distinct(user_id)"],
    orders: sales.reduce((sum, { values }) => sum + values.count, 0),
    revenue: Object.fromEntries(revenue),
  };
}

async function refresh() {
  clearTimeout(due);
  const mine = ++round;
  refreshed = Date.now();
  const { length, step } = RANGES[range];
  const end = Math.ceil((Date.now() + 1) / step) * step;
  const start = end - length;
  try {
    const [now, before] = await Promise.all([
      measure(start, end, RANGES[range]),
      measure(start - length, start, RANGES[range]),
    ]);
    if (mine !== round) return;
    show(start, now, before);
    trouble.hidden = true;
  } catch (error) {
    if (mine !== round) return;
    trouble.textContent = `The numbers are not up to date: ${error.message}. Trying again …`;
    trouble.hidden = false;
  }
  due = setTimeout(refresh, trouble.hidden ? REFRESH : PACE);
}

function show(start, now, before) {
  const { length, step } = RANGES[range];
  const times = Array.from({ length: length / step }, (_, index) => start + index * step);
  chart.show({
    step,
    times,
    now: times.map((time) => now.counts.get(time) ?? 0),
    before: times.map((time) => before.counts.get(time - length) ?? 0),
  });
  for (const name of ["events", "users", "orders"]) showTile(name, whole.format(now[name]), now[name], before[name]);
  showRevenue(now.revenue, before.revenue);
  showTypes(now.types);
}

function refreshSoon() {
  const wait = Math.max(SOON, refreshed + PACE - Date.now());
  clearTimeout(due);
  due = setTimeout(refresh, wait);
}

function say(state, words) {
  connection.dataset.state = state;
  connection.querySelector(".words").textContent = words;
}

// The browser comes back by itself when the connection breaks, and goes on after the last event it saw.
// It gives up when it is answered with an error: then it is for us to come back.
function follow(last) {
  let position = last;
  const source = new EventSource(position ? `realtime?last_event_id=${encodeURIComponent(position)}` : "realtime");
  source.onopen = () => say("live", "Live");
  source.onmessage = (message) => {
    position = message.lastEventId;
    feed.add(JSON.parse(message.data));
    refreshSoon();
  };
  source.addEventListener("gap", (message) => {
    const { missing } = JSON.parse(message.data);
    feed.say("gap", missing ? `${whole.format(missing)} events were missed` : "Events were missed");
    refreshSoon();
  });
  source.onerror = () => {
    say("waiting", "Reconnecting …");
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => follow(position), COMEBACK);
  };
}

function choose(value) {
  range = value;
  refresh();
}

const wanted = new URLSearchParams(location.search).get("range");
if (wanted in RANGES) range = wanted;
for (const input of document.querySelectorAll('input[name="range"]')) {
  input.checked = input.value === range;
  input.addEventListener("change", () => choose(input.value));
}
refresh();
if (document.body.dataset.realtime === "on") {
  follow(null);
} else {
  say("off", "Live events are off");
  document.querySelector("#feed .empty").textContent = "enable_realtime is off.";
}
