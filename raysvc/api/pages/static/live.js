// Keeps a page fresh: parts that change are fetched anew, the log is followed. Without this the page shows the same,
// as of when it was loaded.
"use strict";

const REFRESH_MS = 2000;
const MOST_LOG_CHARACTERS = 1_000_000;

function keepFresh(part) {
  const url = new URL(location.href);
  url.searchParams.set("live", "1");
  const again = async () => {
    try {
      if (!document.hidden) {
        const reply = await fetch(url, { cache: "no-store" });
        if (reply.redirected || reply.status === 401) return location.reload();
        if (reply.ok) replace(part, await reply.text());
      }
    } catch {
      // The server is away: it is asked again.
    }
    if (part.querySelector("[data-ended]") === null) setTimeout(again, REFRESH_MS);
  };
  if (part.querySelector("[data-ended]") === null) setTimeout(again, REFRESH_MS);
}

function replace(part, html) {
  const scrolled = [...part.querySelectorAll("[data-scroll]")].map((each) => each.scrollTop);
  part.replaceChildren(...new DOMParser().parseFromString(html, "text/html").body.childNodes);
  part.querySelectorAll("[data-scroll]").forEach((each, index) => { each.scrollTop = scrolled[index] ?? 0; });
}

// As a terminal would show it: no colours, and of a line that is written over, its last state.
const ESCAPES = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])/g;
const UNSHOWN = /[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

function screened(text) {
  return text.replace(ESCAPES, "").replaceAll("\r\n", "\n").split("\n")
    .map((line, index, all) => {
      const kept = index === all.length - 1 ? line : line.replace(/\r+$/, "");
      const at = kept.replace(/\r+$/, "").lastIndexOf("\r");
      return at < 0 ? kept : kept.slice(at + 1);
    })
    .join("\n");
}

function followLog(log) {
  const state = document.getElementById("following");
  const source = new EventSource(log.dataset.follow);
  let text = log.textContent;
  source.addEventListener("log", (event) => {
    const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
    const lineStart = text.lastIndexOf("\n") + 1;
    text = text.slice(0, lineStart) + screened(text.slice(lineStart) + JSON.parse(event.data).text);
    if (text.length > MOST_LOG_CHARACTERS) text = text.slice(text.indexOf("\n", text.length - MOST_LOG_CHARACTERS) + 1);
    log.textContent = text.replace(/\r(?=\n|$)/g, "").replace(UNSHOWN, "");
    if (atEnd) log.scrollTop = log.scrollHeight;
  });
  source.addEventListener("end", () => {
    source.close();
    state.textContent = "complete";
  });
  source.onopen = () => { state.textContent = "following"; };
  source.onerror = () => { state.textContent = "reconnecting…"; };
}

document.querySelectorAll("[data-live]").forEach(keepFresh);
const log = document.getElementById("log");
if (log !== null) {
  log.scrollTop = log.scrollHeight;
  if (log.dataset.follow) followLog(log);
}
