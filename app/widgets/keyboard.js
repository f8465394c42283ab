// The keyboard's way where Streamlit has none. It puts an open drawer at the end of the document: here Tab leads from its button
// into it, from its end on to what follows the button, and a drawer that closes gives the keyboard back to its button.
const DRAWER = "[data-testid=stPopoverBody]", OPENED = "[data-testid=stPopoverButton][aria-expanded=true]";

// What Tab stops at. In a drawer that it has left, Streamlit keeps it away from all, and `data-tabindex` says how it was.
const stops = (root) => [...root.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
  .filter((element) => (element.dataset.tabindex ?? element.tabIndex) >= 0 && !element.disabled && element.checkVisibility());

document.addEventListener("keydown", (event) => {
  const drawer = document.querySelector(DRAWER), button = document.querySelector(OPENED), at = document.activeElement;
  if (event.key !== "Tab" || event.defaultPrevented || !drawer || !button) return;
  const inside = stops(drawer), page = stops(document.body).filter((element) => !drawer.contains(element));
  let next;
  if (at === button && !event.shiftKey) next = inside[0];
  else if (at === inside[0] && event.shiftKey) next = button;
  else if (at === inside.at(-1) && !event.shiftKey) next = page[page.indexOf(button) + 1];
  if (!next) return;
  event.preventDefault();
  next.focus();
}, true);

document.addEventListener("focusin", (event) => {
  const drawer = event.target.closest?.(DRAWER), button = document.querySelector(OPENED);
  if (!drawer || !button || drawer.watched) return;
  drawer.watched = new MutationObserver(() => {
    if (drawer.isConnected) return;
    drawer.watched.disconnect();
    if (document.activeElement === document.body) button.focus();
  });
  drawer.watched.observe(document.body, { childList: true, subtree: true });
});

// `data` is how many pages of an answer or a list were turned: with each more, the first paper of the new one shows, and has the focus.
export default function ({ data, parentElement }) {
  if (data > (parentElement.turned ?? data)) {
    const papers = document.querySelector(".st-key-hits, .st-key-entries");
    papers?.querySelector("a")?.focus({ preventScroll: true });
    papers?.scrollIntoView({ block: "start" });
  }
  parentElement.turned = data;
}
