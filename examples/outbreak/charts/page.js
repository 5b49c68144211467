// Puts the page together: what is going on, and then what came of it.

import { element, figure } from "./charts.js";
import { champion, get, progress, report, runs } from "./service.js";

const LOOK_MILLISECONDS = 1000;
const at = (id) => document.getElementById(id);
const number = (value, digits = 2) => (value == null ? "–" : value.toFixed(digits));
const share = (value) => (value == null ? "–" : `${Math.round(100 * value)} %`);
const day = (time) => new Date(time).toLocaleString("en-GB", { dateStyle: "long", timeStyle: "short" });

const COLUMNS = [
  ["CRPS", "crps", number],
  ["Skill", "skill", share],
  ["Mean absolute error", "mae", number],
  ["Interval score", "wis", number],
  ["50 % coverage", "coverage_50", share],
  ["80 % coverage", "coverage_80", share],
  ["95 % coverage", "coverage_95", share],
];

function say(words, ...more) {
  const notice = element("div", { className: "notice" }, element("p", { textContent: words }), ...more);
  at("state").replaceChildren(notice);
}

/** Say what is going on; true when there is more to come. */
function tell({ latest, shown }) {
  if (latest === null) {
    say("Nothing has been forecast yet. The first start of the service begins with that in a moment.");
    return true;
  }
  if (["pending", "running"].includes(latest.status)) {
    const { done, all, words } = progress(latest);
    const known = at("state").querySelector("progress");
    const bar = known ?? element("progress");
    Object.assign(bar, { max: all, value: done });
    bar.setAttribute("aria-label", "Steps that are done");
    const what = shown === null ? "The charts appear here by themselves." : "Below is what the run before has found.";
    say(`Models are being trained and tried. ${words} ${what}`, bar);
    return true;
  }
  if (latest.status !== "completed") {
    const again = shown === null ? "" : " Below is what an earlier one has found.";
    say(`The latest run has ${latest.status === "failed" ? "failed" : "been canceled"}: ${latest.error ?? "no reason is known"}.${again}`);
    return false;
  }
  at("state").replaceChildren();
  return false;
}

function showChampion(best) {
  if (best === null) {
    at("champion-said").textContent = "No model has met the gate yet.";
    return;
  }
  const met = best.gate === null ? "" : ` It has met the gate “${best.gate}”.`;
  at("champion-said").textContent = `Version ${best.number}, “${best.name}”, since ${day(best.since)}.${met}`;
  const facts = [["Model", best.name], ["Version", String(best.number)]];
  for (const [title, name, format] of COLUMNS) {
    if (["crps", "skill", "coverage_95"].includes(name)) facts.push([title, format(best.metrics[name])]);
  }
  const made = facts.map(([title, value]) =>
    element("div", {}, element("dt", { textContent: title }), element("dd", { textContent: value })),
  );
  at("champion-facts").replaceChildren(...made);
}

function showScores(found, best) {
  const head = ["Model", ...COLUMNS.map(([title]) => title)];
  at("columns").replaceChildren(...head.map((title) => element("th", { scope: "col", textContent: title })));
  const rows = Object.entries(found.overall).map(([name, metrics]) => {
    const isBest = name === best?.name;
    const said = isBest ? `★ ${name} (champion)` : name === found.baseline ? `${name} (baseline)` : name;
    const cells = COLUMNS.map(([, member, format]) => element("td", { textContent: format(metrics[member]) }));
    const row = element("tr", {}, element("th", { scope: "row", textContent: said }), ...cells);
    row.className = isBest ? "champion" : "";
    return row;
  });
  at("rows").replaceChildren(...rows);
}

/** All charts of a run, each of which is drawn after the one before: the service draws one at a time. */
async function showCharts(run, found) {
  const { told } = run;
  for (const place of ["fans", "places", "trials"]) at(place).replaceChildren();
  const around = { target: found.target, history: told.observations_id };
  const locations = Object.keys(Object.values(found.by_location)[0]);
  const charts = locations.map((location) => {
    const asked = { chart: "fan", location, ...around, width: 440, height: 220 };
    return figure(at("fans"), `Cases in ${location}`, told.forecast_id, asked, { kind: "fan" });
  });
  const map = await get(`artifacts/${told.charts.choropleth}`);
  charts.push(showMap(told, found, map.data.metadata.params.geo));
  charts.push(figure(at("trials"), "How much better than the same season of earlier years", told.report_id, { chart: "skill" }));
  charts.push(figure(at("trials"), "Whether it is as sure as it should be", told.report_id, { chart: "calibration" }));
  for (const chart of charts) await chart.shown();
  await chooseMonth(told, found, map.data.metadata.params.geo);
}

function showMap(told, found, geo, period) {
  const asked = { chart: "choropleth", target: found.target, geo, ...(period === undefined ? {} : { period }) };
  at("places").replaceChildren();
  return figure(at("places"), `Median of the cases${period === undefined ? "" : `, ${period}`}`, told.forecast_id, asked, { further: listed });
}

/** What a map shows by colours, in numbers. */
function listed(spec) {
  const places = spec.data.values.filter((place) => place.value != null).sort((one, other) => other.value - one.value);
  const items = places.map((place) => element("li", { textContent: `${place.location}: ${number(place.value, 0)}` }));
  return [element("ul", { className: "values" }, ...items)];
}

async function chooseMonth(told, found, geo) {
  const { columns, data } = (await get(`artifacts/${told.forecast_id}`)).data.content;
  const months = [...new Set(data.map((row) => row[columns.indexOf("time_period")]))].sort();
  at("period").replaceChildren(...months.map((month) => element("option", { value: month, textContent: month })));
  at("period").onchange = () => showMap(told, found, geo, at("period").value).shown();
}

async function show(run) {
  const [found, best] = await Promise.all([report(run), champion()]);
  at("content").hidden = false;
  showChampion(best);
  showScores(found, best);
  at("past-said").textContent =
    `Each model was asked ${found.cutoffs.length} times for the ${found.horizon} months after ` +
    `${found.cutoffs.join(", ")}, knowing nothing later than that.`;
  at("made").textContent = `Made by the pipeline of ${day(run.submitted_at)}.`;
  await showCharts(run, found);
}

/** Look until nothing is going on any more; what is shown changes when something new is there. */
async function follow(known = null) {
  try {
    const found = await runs();
    const isMore = tell(found);
    if (found.shown !== null && found.shown.id !== known) {
      known = found.shown.id;
      await show(found.shown);
    }
    document.body.dataset.state = isMore ? "waiting" : "done";
    if (isMore) setTimeout(follow, LOOK_MILLISECONDS, known);
  } catch (problem) {
    document.body.dataset.state = "failed";
    const again = element("button", { type: "button", textContent: "Try again" });
    again.onclick = () => follow(known);
    say(problem.message, again);
  }
}

follow();
