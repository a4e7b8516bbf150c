
// While a run goes on, its page is made again. A script beside it, which a page from a file may load, has the
// stamp of the newest one; the last one asks for none. The place on the page and what is unfolded are kept.
(() => {
  const own = document.body.dataset.stamp;
  const key = `guestbench ${location.pathname}`;
  const heads = () => [...document.querySelectorAll("h1, h2, h3")];
  const name = (each) => each.id || each.tagName;
  let kept = null;

  const folded = () => {
    const seen = {};
    return [...document.querySelectorAll("details")].map((each) => {
      // By its place below a heading: what its title says may change.
      const above = heads().filter((h) => h.compareDocumentPosition(each) & Node.DOCUMENT_POSITION_FOLLOWING);
      const head = name(above.at(-1));
      seen[head] = (seen[head] || 0) + 1;
      return [`${head} ${seen[head]}`, each];
    });
  };
  const reload = () => {
    // Once for a page: a copy that was put elsewhere has no stamp beside it, and stays.
    if (kept && kept.stamp === own) return;
    const top = heads().filter((each) => each.getBoundingClientRect().top <= 1).at(-1) || heads()[0];
    const open = folded().filter(([, each]) => each.open).map(([what]) => what);
    const place = { head: name(top), top: top.getBoundingClientRect().top, open };
    sessionStorage.setItem(key, JSON.stringify({ stamp: own, place }));
    history.scrollRestoration = "manual";
    location.reload();
  };
  const restore = ({ head, top, open }) => {
    for (const [what, each] of folded()) if (open.includes(what)) each.open = true;
    const found = heads().find((each) => name(each) === head);
    if (found) scrollBy(0, found.getBoundingClientRect().top - top);
  };
  const ask = () => {
    // A page that nobody sees takes no time from what is measured.
    if (document.hidden) return later();
    const script = document.createElement("script");
    script.src = `report.stamp.js?${Date.now()}`;
    script.onload = () => { script.remove(); if (globalThis.guestbenchStamp === own) later(); else reload(); };
    script.onerror = () => { script.remove(); reload(); };
    document.body.append(script);
  };
  const later = () => setTimeout(ask, 3000);

  try {
    kept = JSON.parse(sessionStorage.getItem(key));
    if (kept) sessionStorage.setItem(key, JSON.stringify({ stamp: kept.stamp }));
  } catch {
    return; // nothing can be kept here, so nothing is reloaded
  }
  if (kept && kept.place) restore(kept.place);
  if (own) later();
})();
