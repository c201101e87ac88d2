"use strict";
// The tiles, the breakdown by type and the live events.
const ROWS = 8;
const FEED = 60;
const hues = new Map();

// Every type keeps its colour for as long as the page is open.
function hue(type) {
  if (!hues.has(type)) hues.set(type, Math.min(hues.size, 7));
  return `var(--hue-${hues.get(type)})`;
}

function showTile(name, value, now, before) {
  const tile = document.querySelector(`[data-tile="${name}"]`);
  tile.querySelector(".value").textContent = value;
  tile.querySelector(".change").replaceChildren(...change(now, before));
}

function change(now, before) {
  const words = `vs prior ${RANGES[range].words}`;
  if (!before) return [now ? `none in prior ${RANGES[range].words}` : ""];
  const percent = Math.round(((now - before) / before) * 100);
  if (!percent) return [`± 0 ${words}`];
  const way = percent > 0 ? "up" : "down";
  const size = Math.abs(percent) >= 1000 ? `${whole.format(Math.round(now / before))}×` : `${Math.abs(percent)} %`;
  const arrow = element("b", "", `${way === "up" ? "▲" : "▼"} ${size}`);
  arrow.dataset.way = way;
  return [arrow, words];
}

// revenue: amounts by currency. The largest stands in front, the others in the line below.
function showRevenue(now, before) {
  const [first, ...others] = Object.entries(now).sort((a, b) => b[1] - a[1]);
  if (!first) return showTile("revenue", "–", 0, 0);
  const [currency, amount] = first;
  showTile("revenue", money(amount, currency), amount, before[currency]);
  if (others.length) {
    const words = others.slice(0, 3).map(([currency, amount]) => money(amount, currency)).join(" + ");
    document.querySelector('[data-tile="revenue"] .change').textContent = `and ${words}`;
  }
}

function showTypes(counts) {
  const sorted = counts.sort((a, b) => b.count - a.count);
  const rows = sorted.slice(0, ROWS);
  const rest = sorted.slice(ROWS).reduce((sum, { count }) => sum + count, 0);
  if (rest) rows.push({ type: `${sorted.length - ROWS} others`, count: rest, isRest: true });
  const total = sorted.reduce((sum, { count }) => sum + count, 0);
  const items = rows.map(({ type, count, isRest }) => {
    const share = total ? count / total : 0;
    const bar = element("div", "bar");
    bar.style.width = `${(count / rows[0].count) * 100}%`;
    bar.style.setProperty("--hue", isRest ? "var(--quiet)" : hue(type));
    const name = element("span", "name", type);
    name.title = type;
    const number = element("span", "number", `${whole.format(count)} · ${Math.round(share * 100)} %`);
    return element("li", "", element("div", "row", name, number), element("div", "track", bar));
  });
  const empty = element("li", "empty", "No events in this time.");
  document.getElementById("types").replaceChildren(...(items.length ? items : [empty]));
}

class Feed {
  constructor(place, count) {
    this.place = place;
    this.count = count;
    this.seen = 0;
    this.say("empty", "Waiting for the first event …");
  }

  say(className, words) {
    this.place.prepend(element("li", className, words));
  }

  add(event) {
    this.place.querySelector(".empty")?.remove();
    const time = element("time", "", seconds.format(new Date(event.timestamp)));
    time.dateTime = event.timestamp;
    const type = element("span", "type", event.type);
    type.style.setProperty("--hue", hue(event.type));
    const who = element("span", "who", event.user_id ?? event.session_id ?? "–");
    const what = element("span", "what", summary(event.properties));
    for (const cell of [type, who, what]) cell.title = cell.textContent;
    this.place.prepend(element("li", "fresh", time, type, who, what));
    while (this.place.children.length > FEED) this.place.lastChild.remove();
    this.seen += 1;
    this.count.textContent = `${whole.format(this.seen)} since this page was opened`;
  }
}
