// One player for the room: says what plays, and plays it as soon as it comes.
function render({ model, el }) {
  el.classList.add("workbook-player");
  const audio = document.createElement("audio");
  audio.controls = true;
  audio.hidden = true;
  const line = document.createElement("div");
  line.className = "workbook-now";
  line.setAttribute("role", "status");
  line.setAttribute("aria-live", "polite");
  el.append(audio, line);
  let url = null;
  let gone = false;

  const arrive = () => {
    const room = el.closest(".workbook-room");
    if (!room) return gone || requestAnimationFrame(arrive); // not yet on the page
    // JupyterLab would take a drop-down's arrow keys to move between cells, unless the very element says that it must not
    room.addEventListener("focusin", ({ target }) => target.setAttribute("data-lm-suppress-shortcuts", "true"));
    model.send({ shown: true });
    // plotly fits itself only to windows that change
    const map = room.querySelector(".workbook-map");
    if (map) new ResizeObserver(() => window.dispatchEvent(new Event("resize"))).observe(map);
  };
  arrive();

  const load = () => {
    line.textContent = model.get("line");
    audio.setAttribute("aria-label", model.get("line"));
    if (url) URL.revokeObjectURL(url);
    const sound = model.get("sound");
    url = sound?.byteLength ? URL.createObjectURL(new Blob([sound], { type: "audio/mpeg" })) : null;
    audio.hidden = !url;
    if (url) {
      audio.src = url;
      audio.play().catch(() => {}); // a browser may want a click first; the player's own button is one
    } else {
      audio.removeAttribute("src");
      audio.load();
    }
  };
  model.on("change:serial", load);
  load();
  return () => {
    gone = true;
    if (url) URL.revokeObjectURL(url);
  };
}
export default { render };
