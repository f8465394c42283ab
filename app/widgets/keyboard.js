// The keyboard. Tab goes from hit to hit, and from a hit's title the arrows lead to what it offers; single letters act on the hit that
// has the focus. Into a drawer, which Streamlit puts at the end of the document, Tab leads from its button, and out of it from its end.
const DRAWER = "[data-testid=stPopoverBody]", OPENED = "[data-testid=stPopoverButton][aria-expanded=true]";
const CARDS = "[class*=st-key-card-]", TITLE = "a[href^='paper?'], a[href*='/paper?']";
const KEYS = [
  ["/", "to the search box"], ["j, k", "to the next and the one before"], ["o", "open it"], ["→, ←", "through what it offers"],
  ["a", "its abstract"], ["l", "put it on a list"], ["c", "cite it"], ["m", "more like it"], ["?", "these keys"],
];
const CONTROLS = "a[href], button, input, select, textarea, summary, [tabindex]";

// What Tab stops at. In a drawer that it has left, Streamlit keeps it away from all, and `data-tabindex` says how it was.
const stops = (root) => [...root.querySelectorAll(CONTROLS)]
  .filter((element) => (element.dataset.tabindex ?? element.tabIndex) >= 0 && !element.disabled && element.checkVisibility());
const cards = () => [...document.querySelectorAll(CARDS)].filter((card) => card.checkVisibility());
const titleOf = (card) => card.querySelector(TITLE);
const controlsOf = (card) => [...card.querySelectorAll("a[href], button, summary")].filter((element) => element.checkVisibility());
const typing = (element) => element?.closest?.("input, textarea, select, [contenteditable], [role=combobox], [role=slider], [role=application]");

// One stop of Tab a hit: what it offers besides its title is reached by the arrows, or by Tab once one of these has the focus.
function reach() {
  for (const card of cards()) {
    const title = titleOf(card), inside = card.contains(document.activeElement) && document.activeElement !== title;
    for (const control of controlsOf(card)) if (control !== title) control.tabIndex = inside ? 0 : -1;
  }
}

function tab(event) {
  const drawer = document.querySelector(DRAWER), button = document.querySelector(OPENED), at = document.activeElement;
  if (event.defaultPrevented || !drawer || !button) return;
  const inside = stops(drawer), page = stops(document.body).filter((element) => !drawer.contains(element));
  let next;
  if (at === button && !event.shiftKey) next = inside[0];
  else if (at === inside[0] && event.shiftKey) next = button;
  else if (at === inside.at(-1) && !event.shiftKey) {
    const card = button.closest(CARDS), controls = card ? controlsOf(card) : page;
    next = controls[controls.indexOf(button) + 1] ?? page[page.indexOf(button) + 1];
  }
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function step(by) {
  const all = cards(), at = all.findIndex((card) => card.contains(document.activeElement));
  const next = all[at < 0 ? (by > 0 ? 0 : all.length - 1) : at + by];
  if (!next) return;
  titleOf(next)?.focus({ preventScroll: true });
  next.scrollIntoView({ block: "nearest" });
}

function help() {
  let dialog = document.querySelector("dialog.paper-keys");
  if (!dialog) {
    dialog = document.body.appendChild(document.createElement("dialog"));
    dialog.className = "paper-keys";
    dialog.setAttribute("aria-label", "Keys");
    const list = dialog.appendChild(document.createElement("dl"));
    for (const [key, meaning] of KEYS) {
      list.appendChild(document.createElement("dt")).textContent = key;
      list.appendChild(document.createElement("dd")).textContent = meaning;
    }
    dialog.onclick = () => dialog.close();
  }
  dialog.open ? dialog.close() : dialog.showModal();
}

const named = (card, name) => controlsOf(card).find((element) => element.textContent.includes(name));

function press(event) {
  if (event.key === "Tab") return tab(event);
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || typing(event.target)) return;
  const card = document.activeElement?.closest?.(CARDS) ?? (cards().length === 1 ? cards()[0] : null);
  const acts = {
    "/": () => document.querySelector(".st-key-q input, .st-key-go-q input, [data-testid=stMain] input[type=text]")?.focus(),
    j: () => step(1), k: () => step(-1), "?": help,
  };
  if (card) Object.assign(acts, {
    o: () => titleOf(card)?.click(), a: () => card.querySelector("summary")?.click(),
    l: () => named(card, "Add to list")?.click(), c: () => named(card, "Cite")?.click(), m: () => named(card, "More like this")?.click(),
    ArrowRight: () => along(card, 1), ArrowLeft: () => along(card, -1),
  });
  if (!acts[event.key]) return;
  event.preventDefault();
  acts[event.key]();
}

function along(card, by) {
  const controls = controlsOf(card);
  controls[Math.min(Math.max(controls.indexOf(document.activeElement) + by, 0), controls.length - 1)]?.focus();
}

// A drawer that closes gives the keyboard back to its button.
function watch(event) {
  reach();
  const drawer = event.target.closest?.(DRAWER), button = document.querySelector(OPENED);
  if (!drawer || !button || drawer.watched) return;
  drawer.watched = new MutationObserver(() => {
    if (drawer.isConnected) return;
    drawer.watched.disconnect();
    if (document.activeElement === document.body) button.focus();
  });
  drawer.watched.observe(document.body, { childList: true, subtree: true });
}

// The abstract of the paper whose title the mouse rests on.
let resting = 0;
function preview(event) {
  clearTimeout(resting);
  document.querySelector(".paper-preview")?.remove();
  const title = event.target.closest?.(TITLE), card = title?.closest(CARDS), details = card?.querySelector("details");
  const abstract = details?.querySelector("[data-testid=stExpanderDetails] p");
  if (!abstract || details.open || event.pointerType !== "mouse") return;
  resting = setTimeout(() => {
    const shown = document.body.appendChild(document.createElement("div")), box = title.getBoundingClientRect();
    shown.className = "paper-preview";
    shown.append(...[...abstract.childNodes].map((node) => node.cloneNode(true)));
    shown.style.left = `${Math.min(box.left, innerWidth - shown.offsetWidth - 16)}px`;
    const below = box.bottom + 6;
    shown.style.top = `${below + shown.offsetHeight > innerHeight ? Math.max(box.top - shown.offsetHeight - 6, 4) : below}px`;
  }, 500);
}

if (!window.paperKeyboard) {
  window.paperKeyboard = true;
  addEventListener("keydown", press, true);
  addEventListener("focusin", watch);
  addEventListener("focusout", () => setTimeout(reach));
  addEventListener("pointerover", preview);
  addEventListener("scroll", () => document.querySelector(".paper-preview")?.remove(), true);
  let due = 0; // cards come and go
  new MutationObserver(() => { due ||= setTimeout(() => { due = 0; reach(); inOurWords(); }, 100); }).observe(document.body, { childList: true, subtree: true });
}

// `data` is how many pages of an answer or a list were turned: with each more, the first paper of the new one shows, and has the focus.
export default function ({ data, parentElement }) {
  if (data > (parentElement.turned ?? data)) {
    const papers = document.querySelector(".st-key-hits, .st-key-entries");
    papers?.querySelector("a")?.focus({ preventScroll: true });
    papers?.scrollIntoView({ block: "start" });
  } else if (parentElement.turned === undefined && !new URLSearchParams(location.search).has("q") && matchMedia("(pointer: fine)").matches) {
    if (document.activeElement === document.body) document.querySelector(".st-key-q input")?.focus({ preventScroll: true });
  }
  parentElement.turned = data;
  reach();
}
