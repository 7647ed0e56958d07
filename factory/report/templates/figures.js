"use strict";
// Draws each figure of the JSON in #figures into the page's <div class="chart" id="chart-NAME">.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");

  function themed(spec) {
    const css = getComputedStyle(document.documentElement);
    const text = css.getPropertyValue("--text").trim();
    const line = css.getPropertyValue("--line").trim();
    const labels = { labelColor: text, titleColor: text, labelFontSize: 12, titleFontSize: 12 };
    const axis = { ...spec.config.axis, ...labels, domainColor: line, tickColor: line };
    if (narrow.matches) axis.labelLimit = 120;
    const legend = { ...spec.config.legend, ...labels, columns: narrow.matches ? 2 : 4, layout: { top: { anchor: "start", bounds: "full" } } };
    const title = { ...spec.config.title, color: text };
    return { ...spec, config: { ...spec.config, axis, legend, title, text: { color: text } } };
  }

  async function draw(place, spec) {
    const result = await drawVega(place, themed(spec), {
      ast: true, actions: false, defaultStyle: false, renderer: "svg",
      tooltip: { disableDefaultStyle: true },
    });
    // Vega gives ARIA roles to each mark; screen readers should see the chart as one image.
    const picture = place.querySelector("svg");
    picture.setAttribute("role", "img");
    picture.setAttribute("aria-label", place.closest("section")?.querySelector("h2")?.textContent ?? "");
    return result;
  }

  const drawn = new Map();
  async function show(name, spec) {
    const place = document.getElementById("chart-" + name);
    if (!place) return;
    drawn.set(name, spec);
    const before = place.vega;
    const result = await draw(place, spec);
    if (before) before.finalize();
    place.vega = result;
  }

  window.factoryFigures = { show };
  for (const preference of [dark, narrow]) {
    preference.addEventListener("change", () => drawn.forEach((spec, name) => show(name, spec)));
  }
  const data = document.getElementById("figures");
  if (data) {
    for (const [name, spec] of Object.entries(JSON.parse(data.textContent))) show(name, spec);
  }
})();
