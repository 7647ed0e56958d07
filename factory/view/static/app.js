"use strict";
// The interactive parts of the pages: follow a live run, move thresholds, review by keyboard.

async function post(path, body) {
  try {
    const answer = await fetch(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    });
    return { ok: answer.ok, ...(await answer.json()) };
  } catch {
    return { ok: false, error: "the app does not answer; restart it and try again" };
  }
}

function drawAll(specs) {
  if (!window.drawVega) return;
  for (const [name, spec] of Object.entries(specs)) factoryFigures.show(name, spec);
}

const pages = {
  overview() {
    const status = document.getElementById("status");
    const stateText = document.getElementById("state");
    let shown; // replacing unchanged HTML would lose the reader's selection
    async function follow() {
      const before = document.body.dataset.state;
      if (before === "done") return;
      try {
        const now = await (await fetch("/live")).json();
        const isNew = Object.keys(now.specs).some((name) => !document.getElementById(`chart-${name}`));
        if (now.state !== before || isNew) { location.reload(); return; }
        if (now.html !== shown) status.innerHTML = now.html; // escaped by the server
        shown = now.html;
        drawAll(now.specs);
        stateText.textContent = now.state;
      } catch {
        stateText.textContent = "the app has stopped; this is the last state it reported";
      }
      setTimeout(follow, 2000);
    }
    follow();
  },

  thresholds() {
    const form = document.getElementById("knobs");
    const outcome = document.getElementById("outcome");
    const knobs = [...form.querySelectorAll("fieldset")].map((box) => ({
      box, on: box.querySelector(".on"), range: box.querySelector("[type=range]"),
      number: box.querySelector("[type=number]"),
    }));
    const value = ({ on, number }) => (on.checked ? Number(number.value) : null);
    knobs.forEach((knob) => { knob.before = value(knob); });

    let latest = 0;
    let before; // the number of samples kept by the unchanged recipe
    async function refresh() {
      const changes = {};
      for (const knob of knobs) {
        const changed = value(knob) !== knob.before;
        knob.box.classList.toggle("changed", changed);
        const { filter, field } = knob.box.dataset;
        if (changed) (changes[filter] ??= {})[field] = value(knob);
      }
      const mine = ++latest;
      const found = await post("/api/funnel", changes);
      if (mine !== latest) return; // a later request has been sent
      document.getElementById("recipe").textContent = asRecipe(changes);
      if (!found.ok) { outcome.textContent = found.error; return; }
      const kept = found.rows.find((row) => row.stage === "kept");
      before ??= kept.samples;
      const change = kept.samples - before;
      const difference = change ? ` (${change > 0 ? "+" : "−"}${Math.abs(change).toLocaleString()} against the recipe)` : "";
      outcome.textContent = `${kept.samples.toLocaleString()} kept, ${(100 * kept.share).toFixed(1)}%${difference}`;
      outcome.dataset.kept = kept.samples;
      drawAll(found.specs);
      document.querySelector(".outcome .numbers").innerHTML = found.table; // escaped by the server
    }

    let pending;
    function moved(knob, from) {
      if (from !== knob.on) {
        knob.on.checked = true;
        (from === knob.range ? knob.number : knob.range).value = from.value;
      }
      clearTimeout(pending);
      pending = setTimeout(refresh, 60);
    }
    for (const knob of knobs) {
      for (const input of [knob.on, knob.range, knob.number]) {
        input.addEventListener("input", () => moved(knob, input));
      }
    }
    form.addEventListener("reset", () => setTimeout(refresh));
    form.addEventListener("submit", (event) => event.preventDefault());
    refresh();
  },

  review() {
    const message = document.getElementById("message");
    document.getElementById("reviewer").addEventListener("submit", async (event) => {
      event.preventDefault();
      const name = new FormData(event.target).get("name");
      const answer = await post("/api/reviewer", { name });
      if (answer.ok) location.reload();
      else message.textContent = answer.error;
    });
    const desk = document.getElementById("desk");
    if (!desk) return;
    const { sample, version } = desk.dataset;
    const at = `/api/review/${encodeURIComponent(sample)}`;
    const base = Number(version);
    const editor = document.getElementById("editor");
    const insistButton = document.getElementById("insist");
    const next = document.getElementById("next");

    const written = () => JSON.stringify(Object.fromEntries(new FormData(editor)));
    const untouched = written();
    let busy = false; // one action at a time: a double key press must not act on the next sample
    async function act(path, body, progress) {
      if (busy) return {};
      busy = true;
      message.textContent = progress;
      const answer = await post(`${at}/${path}`, { ...body, base });
      busy = Boolean(answer.saved); // once saved, the next page loads
      if (answer.error) message.textContent = `Not saved: ${answer.error}`;
      return answer;
    }
    async function decide(choice, reason) {
      if (written() !== untouched) {
        message.textContent = "Your edit is not saved: save it first, or close it.";
        return;
      }
      if ((await act("decide", { choice, reason }, "")).saved) location.href = next.href;
    }
    async function save(insist) {
      const answer = await act("edit", { ...JSON.parse(written()), insist }, "verifying…");
      if (answer.saved) { editor.reset(); location.reload(); return; }
      insistButton.hidden = !answer.flags;
      if (!answer.flags) return;
      const unasked = Object.entries(answer.skipped).map(([name, why]) => ` ${name}: ${why}.`);
      message.textContent = `Not saved yet: the filters would reject it (${answer.flags.join(", ")}).${unasked.join("")}`;
    }
    // A page restored from the browser's back/forward cache may predate the decision.
    addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
    addEventListener("beforeunload", (event) => {
      if (!busy && written() !== untouched) event.preventDefault();
    });
    function open() { editor.hidden = false; editor.elements.thinking.focus(); }
    const rejects = [...desk.querySelectorAll("[data-reason]")];
    const byKey = { r: "other", ...Object.fromEntries(rejects.map((button, at) => [at + 1, button.dataset.reason])) };

    document.getElementById("accept").addEventListener("click", () => decide("accept"));
    for (const button of rejects) {
      button.addEventListener("click", () => decide("reject", button.dataset.reason));
    }
    document.getElementById("back").addEventListener("click", (event) => { event.preventDefault(); history.back(); });
    document.getElementById("close").addEventListener("click", () => { editor.reset(); editor.hidden = true; });
    document.getElementById("change").addEventListener("click", open);
    insistButton.addEventListener("click", () => save(true));
    editor.addEventListener("submit", (event) => { event.preventDefault(); save(false); });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { document.activeElement.blur(); return; }
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !editor.hidden) { save(false); return; }
      if (event.target.closest("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "a") decide("accept");
      else if (event.key in byKey) decide("reject", byKey[event.key]);
      else if (event.key === "e") { event.preventDefault(); open(); }
      else if (event.key === "n") location.href = next.href;
      else if (event.key === "b") history.back();
    });
  },
};

function asRecipe(changes) {
  const lines = Object.entries(changes).flatMap(([filter, fields]) =>
    [`  ${filter}:`, ...Object.entries(fields).map(([field, value]) => `    ${field}: ${value}`)]);
  return lines.length ? ["filters:", ...lines].join("\n") : "(unchanged)";
}

pages[document.body.dataset.page]?.();
document.body.dataset.ready = "";
