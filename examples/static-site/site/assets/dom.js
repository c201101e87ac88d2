// The little that makes the page's elements short to write. Text goes in as text: no part can bring markup.

export const one = (selector, within = document) => within.querySelector(selector);
export const every = (selector, within = document) => within.querySelectorAll(selector);

/** An element with attributes, listeners (`onclick: …`) and children. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value != null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

/** Sets a text only if it is another one, so that screen readers and selections are left in peace. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
