// Links and the way back. A plain click on a link within the app stays in its tab and session, a click with Ctrl, Cmd or Shift, or
// with the middle button, is the browser's own affair everywhere. Back and forward return to where a page was scrolled to.
const MAIN = "[data-testid=stMain]", SEARCH = "paper-app:search";
const main = () => document.querySelector(MAIN);
const path = (address) => new URL(address, location.href).pathname;
const root = () => new URL(".", location.href).pathname;

// Goes to an address as Streamlit's own links do: it follows the address, as after the back button.
function go(address) {
  history.pushState({}, "", address);
  dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  main()?.scrollTo(0, 0);
}

function follow(event) {
  if (location.pathname === root()) sessionStorage.setItem(SEARCH, location.search);
  const link = event.target.closest?.("a[href]");
  if (!link || event.defaultPrevented) return;
  const address = new URL(link.href, location.href);
  if (address.origin !== location.origin || !address.pathname.startsWith(root()) || link.hasAttribute("download")) return;
  if (event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return event.stopPropagation();
  const menu = link.closest("[data-testid^=stTopNav], [data-testid^=stSidebarNav]"), left = sessionStorage.getItem(SEARCH);
  if (menu && address.pathname === root() && location.pathname !== root() && left) address.search = left; // the search that was left
  else if (!link.closest("[data-testid=stMarkdownContainer]")) return;
  event.preventDefault();
  event.stopPropagation();
  go(address.href);
}

// Scroll positions by address, for as long as the tab is open.
const key = () => `paper-app:scroll:${location.href}`;
let restoring = 0;

function remember() {
  if (main() && !restoring) sessionStorage.setItem(key(), String(Math.round(main().scrollTop)));
}

function restore(event) {
  if (!event.isTrusted) return; // our own, to an address that is new
  const wanted = Number(sessionStorage.getItem(key())), until = performance.now() + 8000, turn = ++restoring;
  const stop = () => { if (turn === restoring) restoring = 0; };
  for (const touch of ["wheel", "keydown", "pointerdown"]) addEventListener(touch, stop, { once: true, capture: true });
  let steady = 0;
  const settle = () => {
    if (turn !== restoring) return;
    const at = main();
    if (at && at.scrollHeight - at.clientHeight >= wanted - 1) at.scrollTop = wanted;
    const idle = document.querySelector("[data-testid=stApp]")?.dataset.testScriptState === "notRunning";
    steady = idle && at && Math.abs(at.scrollTop - wanted) < 2 ? steady + 1 : 0;
    if (steady > 30 || performance.now() > until) stop();
    else requestAnimationFrame(settle);
  };
  settle();
}

if (!window.paperLinks) {
  window.paperLinks = true;
  remember(); // the page may have been scrolled before this was loaded
  addEventListener("click", follow, true);
  addEventListener("auxclick", (event) => event.target.closest?.("a[href]") && event.stopPropagation(), true);
  addEventListener("scroll", (event) => event.target === main() && remember(), true);
  addEventListener("popstate", restore, true);
}
