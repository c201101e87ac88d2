"use strict";
// Before anything is drawn: dark or light as was chosen, else as the reader's system has it.
const root = document.documentElement;
const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const REMEMBERED = "analytics-theme";

// A frame may be denied its storage; then a choice lasts as long as the page.
function recall() {
  try { return localStorage.getItem(REMEMBERED); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem(REMEMBERED, theme); } catch { /* see recall */ }
}

function applyTheme(theme) {
  root.dataset.theme = theme;
  const other = theme === "dark" ? "light" : "dark";
  document.getElementById("theme")?.setAttribute("aria-label", `Switch to ${other}`);
}

function preferredTheme() {
  const chosen = recall();
  if (chosen === "dark" || chosen === "light") return chosen;
  return prefersDark.matches ? "dark" : "light";
}

applyTheme(preferredTheme());
prefersDark.addEventListener("change", () => applyTheme(preferredTheme()));
if (new URLSearchParams(location.search).get("embed") === "1") root.dataset.embed = "";

addEventListener("DOMContentLoaded", () => {
  applyTheme(root.dataset.theme);
  document.getElementById("theme").addEventListener("click", () => {
    const theme = root.dataset.theme === "dark" ? "light" : "dark";
    remember(theme);
    applyTheme(theme);
  });
});
