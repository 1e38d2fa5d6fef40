"use strict";
// Draws the charts of the page. An error is noted on the root element, where a test and a reader of the source see it.
window.addEventListener("error", (event) => {
  document.documentElement.dataset.error = String(event.message);
});

(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const touch = window.matchMedia("(hover: none)").matches;
  const config = {
    responsive: true,
    displaylogo: false,
    displayModeBar: touch ? false : "hover",
    modeBarButtons: [["zoom2d", "pan2d", "resetScale2d", "toImage"]],
  };

  const colours = () => {
    const style = getComputedStyle(document.documentElement);
    const of = (name) => style.getPropertyValue(name).trim();
    return {
      "font.color": of("--text"),
      "xaxis.gridcolor": of("--line"),
      "yaxis.gridcolor": of("--line"),
      "hoverlabel.bgcolor": of("--card"),
      "hoverlabel.font.color": of("--text"),
      "modebar.color": of("--quiet"),
      "modebar.activecolor": of("--text"),
    };
  };

  const drawn = figures.map((figure) => {
    const layout = figure.layout;
    layout.paper_bgcolor = layout.plot_bgcolor = "rgba(0, 0, 0, 0)";
    layout.font = { size: 12, family: getComputedStyle(document.body).fontFamily };
    layout.modebar = { bgcolor: "rgba(0, 0, 0, 0)" };
    if (touch) layout.dragmode = false; // a finger scrolls the page
    const place = document.getElementById(figure.name);
    return Plotly.newPlot(place, figure.data, layout, config).then(() => Plotly.relayout(place, colours()));
  });
  Promise.all(drawn).then(
    () => (document.documentElement.dataset.charts = String(figures.length)),
    (error) => (document.documentElement.dataset.error = String(error)),
  );
  dark.addEventListener("change", () => {
    for (const figure of figures) Plotly.relayout(figure.name, colours());
  });
})();
