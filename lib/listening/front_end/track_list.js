// A list of tracks for the eye, the mouse and the keyboard: arrows, Home and End move and play, Space starts and stops.
const SETTLED = 250; // ms without another arrow key before a track is asked for

function text(tag, className, content, parent) {
  const element = document.createElement(tag);
  element.className = className;
  element.textContent = content; // never innerHTML: titles come from anybody's table
  parent.append(element);
  return element;
}

function render({ model, el }) {
  el.classList.add("workbook-list");
  const heading = text("div", "workbook-list-heading", "", el);
  const note = text("div", "workbook-list-note", "", el);
  const box = text("ul", "workbook-list-rows", "", el);
  box.setAttribute("role", "listbox");
  box.tabIndex = 0;
  const name = `workbook-${Math.random().toString(36).slice(2)}`;
  let active = 0;
  let waiting = null;

  const audio = () => el.closest(".workbook-room")?.querySelector("audio");
  const choose = (track) => {
    if (track !== model.get("playing")) return model.send({ choose: track });
    const sound = audio();
    if (sound?.src) sound.paused ? sound.play() : sound.pause();
  };
  const move = (place) => {
    const rows = model.get("rows");
    if (!rows.length) return;
    active = Math.max(0, Math.min(rows.length - 1, place));
    mark();
    clearTimeout(waiting);
    waiting = setTimeout(() => rows[active].id !== model.get("playing") && choose(rows[active].id), SETTLED);
  };
  const mark = () => {
    [...box.children].forEach((row, place) => {
      const plays = row.dataset.track === model.get("playing");
      row.classList.toggle("workbook-active", place === active);
      row.classList.toggle("workbook-playing", plays);
      row.setAttribute("aria-selected", plays);
      if (place === active) row.scrollIntoView({ block: "nearest" });
    });
    if (box.children.length) box.setAttribute("aria-activedescendant", `${name}-${active}`);
    else box.removeAttribute("aria-activedescendant");
  };
  const draw = () => {
    heading.textContent = model.get("heading");
    note.textContent = model.get("note");
    box.setAttribute("aria-label", model.get("heading"));
    box.replaceChildren();
    active = 0;
    model.get("rows").forEach((row, place) => {
      const line = text("li", "workbook-row", "", box);
      line.id = `${name}-${place}`;
      line.dataset.track = row.id;
      line.setAttribute("role", "option");
      line.title = [row.title, row.artist].filter(Boolean).join(" — ");
      text("span", "workbook-place", row.place, line);
      const what = text("span", "workbook-what", "", line);
      text("span", "workbook-title", row.title, what);
      text("span", "workbook-artist", row.artist, what);
      if (row.hit) text("span", "workbook-hit", "✓ heard later", line);
      text("span", "workbook-aside", row.aside, line);
      line.addEventListener("click", () => {
        active = place;
        box.focus({ preventScroll: true });
        mark();
        choose(row.id);
      });
    });
    mark();
  };
  box.addEventListener("keydown", (event) => {
    const last = model.get("rows").length - 1;
    const steps = { ArrowDown: active + 1, ArrowUp: active - 1, Home: 0, End: last };
    if (event.key in steps) move(steps[event.key]);
    else if ((event.key === " " || event.key === "Enter") && last >= 0) choose(model.get("rows")[active].id);
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab moves between cells by the same keys
  });
  model.on("change:rows change:heading change:note", draw);
  model.on("change:playing", mark);
  draw();
}
export default { render };
