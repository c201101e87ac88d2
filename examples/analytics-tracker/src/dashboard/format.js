"use strict";
// Numbers, money and times in words, and elements with text. Nothing from an event becomes HTML.
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const seconds = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { weekday: "short", day: "numeric" });
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

// Amounts are in minor units; how many of them make a whole one is the currency's.
function money(amount, currency) {
  try {
    const format = new Intl.NumberFormat(undefined, { style: "currency", currency });
    return format.format(amount / 10 ** format.resolvedOptions().maximumFractionDigits);
  } catch {
    return `${whole.format(amount)} ${currency ?? ""}`.trim();
  }
}

function element(name, className, ...content) {
  const made = document.createElement(name);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

function summary(properties) {
  const words = Object.entries(properties ?? {}).slice(0, 6).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${name}: ${text.length > 60 ? `${text.slice(0, 59)}…` : text}`;
  });
  return words.join("  ·  ");
}
