"""The report and the terminal tables: complete, safe against hostile names, and drawn by a real browser."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from result_fixture import deep_shapes, example_dict, example_result
from rich.console import Console

from crosstile.study.report import chip_figures, render_report, script_json
from crosstile.study.report_figures import figures
from crosstile.study.report_style import axis_scale, percent, pretty
from crosstile.study.result import Result
from crosstile.study.tables import component_table, layer_table, summary_table

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>{{7*7}}[bold]"


def sparse_result() -> Result:
    """The least that a result holds: one trial, nothing optional, no clipping, an exact layer."""
    data = example_dict()
    layer = data["layers"][0]
    for name in ("saturation", "saturation_per_slice", "snr_db", "snr_cumulative_db", "latency_by_part_s",
                 "energy_by_component", "conductance", "limited_by"):  # fmt: skip
        del layer[name]
    required = ("energy_j", "latency_s", "area_m2", "edp_js", "edap", "tops_per_w", "tops_per_mm2", "macs")
    accuracy = data["accuracy"] | {"quantised": None, "per_trial": [0.97], "mean": 0.97, "drop": -0.01}
    return Result.model_validate(
        data
        | {
            "layers": [layer], "components": [], "programming": None, "references": [], "notes": [],
            "timeline": None, "heat": None, "timings": {}, "chip": {"name": "bare"}, "trials": 1, "accuracy": accuracy,
            "cost": {name: data["cost"][name] for name in required},
        }
    )  # fmt: skip


def hostile_result() -> Result:
    def poison(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {name: poison(item, name) for name, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [poison(item, key) for item in value]
        fixed = {"created", "engine", "format"}
        return HOSTILE + value if isinstance(value, str) and key not in fixed else value

    data = poison(example_dict())
    for layer in data["layers"]:
        layer["energy_by_component"] = {HOSTILE + k: v for k, v in layer["energy_by_component"].items()}
        layer["latency_by_part_s"] = {HOSTILE + k: v for k, v in layer["latency_by_part_s"].items()}
    data["timings"] = {HOSTILE: 1.0}
    return Result.model_validate(data)


class Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs


def parsed(page: str) -> Elements:
    elements = Elements()
    elements.feed(page)
    return elements


def without_plotly(page: str) -> str:
    return re.sub(r"<script>/\*\*\n\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def test_the_report_shows_the_key_figures_and_how_to_repeat_them() -> None:
    page = without_plotly(render_report(example_result()))
    for wanted in ("97.13 %", "98.40 %", "1.325 µJ", "731.5 µs", "0.9196 mm²", "TOPS/W", "969.2 pJ·s",
                   "crosstile run --model lenet5", "read_voltage: 0.2 V", "Line resistance is not modelled",
                   "component figures", "CC BY-SA 3.0", "<noscript>", "2.6.0", "Table 6"):  # fmt: skip
        assert wanted in page, wanted


def test_every_figure_has_a_place_a_caption_and_axes_with_names() -> None:
    result = example_result()
    page = render_report(result)
    drawn = figures(result)
    assert set(drawn) == {"accuracy", "energy-layers", "latency-layers", "area-layers", "components", "snr",
                          "saturation", "conductance", "treemap", "gantt", "heat"}  # fmt: skip
    for name, figure in drawn.items():
        place = re.search(rf'id="plot-{name}".*?<figcaption>(.+?)</figcaption>', page, re.DOTALL)
        assert place
        assert len(place[1]) > 40
        for axis in (key for key in figure["layout"] if key.startswith(("xaxis", "yaxis"))):
            assert figure["layout"][axis]["title"]["text"], (name, axis)


def test_nothing_is_loaded_from_anywhere() -> None:
    page = without_plotly(render_report(example_result()))
    elements = parsed(page)
    assert not {"link", "img", "iframe", "object", "embed"} & set(elements.tags)
    assert not [value for name, value in elements.attributes if name in ("src", "srcset", "action")]
    assert all(value and value.startswith("#") for name, value in elements.attributes if name == "href")
    assert "default-src 'none'" in page
    assert not re.search(r"url\(|@import|https?://", page)


def test_plotly_is_in_the_page_once() -> None:
    page = render_report(example_result())
    assert len(re.findall(r"\* plotly\.js v", page)) == 1
    assert len(parsed(page).tags) == len(parsed(without_plotly(page)).tags) + 1


def test_hostile_names_stay_text() -> None:
    page = render_report(hostile_result())
    clean = parsed(render_report(example_result()))
    elements = parsed(page)
    assert elements.tags.count("script") == clean.tags.count("script")
    assert "img" not in elements.tags
    assert not [name for name, _ in elements.attributes if name.startswith("on")]
    assert "<script>alert" not in page
    assert "{{7*7}}" in page  # not evaluated
    data = re.search(r'<script type="application/json" id="figures">(.*?)</script>', page, re.DOTALL)
    assert data
    assert not set("<>&") & set(data[1])
    for figure in json.loads(data[1]).values():
        assert "<script" not in json.dumps([figure["data"], figure["layout"]])


def test_script_json_keeps_its_meaning_and_refuses_infinities() -> None:
    value = {"</script>": ["<!--", "a & b", "\u2028"]}
    assert json.loads(script_json(value)) == value
    assert not set("<>&\u2028") & set(script_json(value))
    with pytest.raises(ValueError):
        script_json(float("nan"))


def test_a_sparse_result_is_rendered_without_empty_figures() -> None:
    result = sparse_result()
    page = without_plotly(render_report(result))
    assert set(figures(result)) == {"accuracy", "energy-layers", "latency-layers", "area-layers", "snr"}
    for wanted in ("the chip gains 1 points", "No converter of this chip can clip", "exact",
                   "No conductances were recorded", "The chip lists no components"):  # fmt: skip
        assert wanted in page, wanted
    assert "None" not in re.sub(r"<style>.*?</style>|None: the cells|None were", "", page, flags=re.DOTALL)


def test_a_network_without_mapped_layers_is_rendered() -> None:
    assert "No layer of this network" in render_report(example_result(layers=[], components=[]))


def test_bars_of_all_components_add_up_to_the_energy() -> None:
    result = example_result()
    drawn = figures(result)["energy-layers"]
    assert len(drawn["data"]) == 9
    unit = re.search(r"\((.)J\)", drawn["layout"]["yaxis"]["title"]["text"])
    assert unit
    factor = {"n": 1e9, "µ": 1e6}[unit[1]]
    for i, layer in enumerate(result.layers):
        assert sum(trace["y"][i] for trace in drawn["data"]) == pytest.approx(layer.energy_j * factor)


def test_many_layers_get_few_labels() -> None:
    axis = figures(example_result(deep_shapes(110)))["snr"]["layout"]["xaxis"]
    assert len(axis["tickvals"]) == len(axis["ticktext"]) <= 48


def test_formats() -> None:
    assert pretty(1.2e-6, "J") == "1.2 µJ"
    assert pretty(4e-10, "m2") == "400 µm²"
    assert pretty(0.0, "m2") == "0 mm²"
    assert pretty(None, "J") == "–"
    assert percent(1e-7) == "< 0.001 %"
    assert axis_scale(2.5e-5, "S") == (pytest.approx(1e6), "µS")
    assert axis_scale(0.0, "J") == (1.0, "J")


def test_chip_figures_have_units_and_survive_foreign_descriptions() -> None:
    shown = dict(chip_figures(example_result().chip))
    assert shown["Largest conductance"] == "25 µS"
    assert shown["Rows driven per read"] == "all"
    assert chip_figures({"cell": "a name", "array": None, "adc": {"bits": None}}) == [
        ("Converter bits", "ideal converter")
    ]


def printed(table: Any) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    return stream.getvalue()


@pytest.mark.parametrize("make", [example_result, hostile_result, sparse_result])
@pytest.mark.parametrize("table", [summary_table, layer_table, component_table])
def test_tables_fit_80_columns_with_whole_numbers(make: Any, table: Any) -> None:
    text = printed(table(make()))
    assert max(len(line) for line in text.splitlines()) <= 80
    assert "…" not in text


def test_tables_say_what_a_user_looks_for() -> None:
    result = example_result()
    assert "97.13 %" in printed(summary_table(result))
    assert "588 nJ" in printed(layer_table(result))
    assert "output_register" in printed(component_table(result))


def test_markup_in_names_is_printed_as_it_is() -> None:
    layers = example_dict()["layers"]
    layers[0]["name"] = "[bold]x[/bold]"
    assert "[bold]x[/bold]" in printed(layer_table(example_result(layers=layers)))


def browser() -> str:
    found = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
    if found is None:
        pytest.skip("no chromium, chromium-browser or google-chrome on PATH")
    return found


PROBE = """<script>
const probe = { errors: [], blocked: [] };
window.addEventListener("error", (e) => probe.errors.push(String(e.message)));
window.addEventListener("unhandledrejection", (e) => probe.errors.push(String(e.reason)));
document.addEventListener("securitypolicyviolation", (e) => probe.blocked.push(e.blockedURI));
window.alert = () => probe.errors.push("alert");
</script>"""
ASK = """<script>
window.addEventListener("load", () => setTimeout(() => {
  const select = document.getElementById("conductance-layer");
  if (select) { select.value = "2"; select.dispatchEvent(new Event("change")); }
  setTimeout(() => {
    probe.figures = document.documentElement.dataset.figures;
    probe.drawn = document.querySelectorAll(".plot > .plot-container").length;
    probe.banner = !document.getElementById("figure-error").hidden;
    probe.requests = performance.getEntriesByType("resource").map((e) => e.name);
    const plot = document.getElementById("plot-conductance");
    probe.target = plot && plot.data ? Array.from(plot.data[0].y) : null;
    probe.wide = document.documentElement.scrollWidth > window.innerWidth;
    const said = document.createElement("pre");
    said.id = "probe";
    said.textContent = JSON.stringify(probe);
    document.body.append(said);
  }, 1500);
}, 1500));
</script>"""


@pytest.mark.browser
@pytest.mark.parametrize("make", [example_result, hostile_result, sparse_result])
def test_a_browser_draws_every_figure_without_errors_or_requests(make: Any, tmp_path: Path) -> None:
    result = make()
    page = render_report(result).replace("<head>", "<head>" + PROBE, 1)
    at = page.rindex("</body>")
    path = tmp_path / "report.html"
    path.write_text(page[:at] + ASK + page[at:], encoding="utf-8")
    command = [
        browser(), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,2000", "--virtual-time-budget=20000",
        "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False)
    said = re.search(r'<pre id="probe">(.*?)</pre>', done.stdout, re.DOTALL)
    assert said, done.stderr[-2000:]
    probe = json.loads(said[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    drawn = figures(result)
    assert probe["errors"] == []
    assert probe["blocked"] == []
    assert probe["requests"] == []
    assert not probe["banner"]
    assert not probe["wide"]
    assert probe["figures"] == str(len(drawn))
    assert probe["drawn"] == len(drawn)
    assert done.stdout.count('class="main-svg"') >= len(drawn)
    if result.layers[-1].conductance:
        assert result.layers[2].conductance
        assert probe["target"] == list(result.layers[2].conductance.target)
