"use strict";
(function () {
  const banner = document.getElementById("figure-error");
  function fail(error) {
    banner.hidden = false;
    banner.textContent = "A figure could not be drawn: " + error;
  }
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = { responsive: true, displayModeBar: false };
  const plots = Object.keys(figures).map((id) => document.getElementById("plot-" + id));
  const drawn = Object.entries(figures).map(([id, figure]) =>
    Promise.resolve().then(() => Plotly.newPlot("plot-" + id, figure.data, figure.layout, config)));
  Promise.all(drawn).then(() => { document.documentElement.dataset.figures = String(drawn.length); }, fail);

  const select = document.getElementById("conductance-layer");
  if (select) {
    select.addEventListener("change", () => {
      const choice = figures.conductance.choices[Number(select.value)];
      Plotly.restyle("plot-conductance", {
        x: [choice.x, choice.x], width: [choice.width, choice.width], y: [choice.target, choice.programmed],
      }).catch(fail);
    });
  }
  // Paper is narrower than the window: 186 mm between the margins of an A4 page.
  window.addEventListener("beforeprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: 690 })));
  window.addEventListener("afterprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));
})();
