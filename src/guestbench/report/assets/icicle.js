// Lets a reader look closer at a part of an icicle (press it, or Enter), move by arrow keys, and find parts by name.
for (const drawn of document.querySelectorAll(".icicles")) {
  const frames = [...drawn.querySelectorAll(".icicle > svg")].map((element) => ({
    element,
    start: Number(element.dataset.start),
    value: Number(element.dataset.value),
    level: Number(element.dataset.level),
  }));
  const [root] = frames;
  const told = drawn.querySelector("output");
  const field = drawn.querySelector("input");
  let shown = root;

  const end = (frame) => frame.start + frame.value;
  const tell = (frame) => { told.textContent = frame.element.getAttribute("aria-label"); };

  // Shows a part as wide as the whole; those it belongs to stay above it.
  function show(frame) {
    shown = frame;
    for (const each of frames) {
      const from = Math.max(each.start, frame.start);
      const to = Math.min(end(each), end(frame));
      const visible = to > from;
      each.element.setAttribute("x", `${(100 * (from - frame.start)) / frame.value}%`);
      each.element.setAttribute("width", `${visible ? (100 * (to - from)) / frame.value : 0}%`);
      each.element.setAttribute("visibility", visible ? "visible" : "hidden");
    }
    tell(frame);
  }

  function focus(frame) {
    if (!frame) return;
    for (const each of frames) each.element.setAttribute("tabindex", each === frame ? "0" : "-1");
    frame.element.focus();
    tell(frame);
  }

  const within = (frame) => frame.start < end(shown) && end(frame) > shown.start;
  const beside = (frame) => frames.filter((each) => each.level === frame.level && within(each));
  const moves = {
    ArrowDown: (frame) => frames.find((each) => each.level === frame.level + 1 && each.start >= frame.start
      && end(each) <= end(frame) && within(each)),
    ArrowUp: (frame) => frames.find((each) => each.level === frame.level - 1 && each.start <= frame.start
      && end(each) >= end(frame)),
    ArrowLeft: (frame) => beside(frame)[beside(frame).indexOf(frame) - 1],
    ArrowRight: (frame) => beside(frame)[beside(frame).indexOf(frame) + 1],
  };

  for (const frame of frames) {
    frame.element.addEventListener("click", () => { focus(frame); show(frame); });
    frame.element.addEventListener("pointerenter", () => tell(frame));
    frame.element.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") show(frame);
      else if (event.key === "Escape") show(root);
      else if (event.key in moves) focus(moves[event.key](frame));
      else return;
      event.preventDefault();
    });
  }
  drawn.querySelector("button").addEventListener("click", () => show(root));
  drawn.querySelector(".icicle").addEventListener("pointerleave", () => tell(shown));

  field.addEventListener("input", () => {
    const wanted = field.value.trim().toLowerCase();
    let sum = 0;
    let reached = 0;
    for (const frame of frames) {
      const name = frame.element.querySelector("text").textContent.toLowerCase();
      const found = wanted !== "" && frame !== root && name.includes(wanted);
      frame.element.classList.toggle("found", found);
      // What is part of something found is counted with it.
      if (found && end(frame) > reached) {
        sum += end(frame) - Math.max(reached, frame.start);
        reached = end(frame);
      }
    }
    told.textContent = wanted
      ? `${sum.toLocaleString("en")} of ${root.value.toLocaleString("en")} (${((100 * sum) / root.value).toFixed(2)}%) found`
      : shown.element.getAttribute("aria-label");
  });
}
