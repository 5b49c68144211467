// What the service is asked, and what its answers mean.

const API = "../api/v1";

/** What is wrong, as the service says it. */
export class Problem extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

async function reply(path) {
  let found;
  try {
    found = await fetch(`${API}/${path}`);
  } catch {
    throw new Problem(0, "The service does not answer. Is it running?");
  }
  if (found.ok) return found;
  const said = await found.json().catch(() => ({}));
  throw new Problem(found.status, said.detail ?? `The service answered ${found.status} for ${path}`);
}

export const get = async (path) => (await reply(path)).json();
export const text = async (path) => (await reply(path)).text();
export const address = (path) => `${API}/${path}`;

/** The latest run of the pipeline, and the latest that has come to its end, each null when there is none. */
export async function runs() {
  const jobs = await get("jobs?kind=ml.pipeline&fields=id,status,error,submitted_at&size=10&page=1");
  let latest = null;
  for (const job of jobs.items) {
    const run = await about(job);
    latest ??= run;
    if (run.status === "completed") return { latest, shown: run };
  }
  return { latest, shown: null };
}

async function about(job) {
  if (job.status !== "completed") return { ...job, graph: null, told: null };
  const told = await get(`jobs/${job.id}/$result`);
  const graph = await get(`graphs/${told.graph_id}`);
  const failed = Object.values(graph.nodes).find((node) => node.error);
  return { ...job, status: graph.status, error: failed?.error ?? null, graph, told };
}

/** How far a run is: steps that are done, all steps, and in words. */
export function progress(run) {
  if (run.graph === null) return { done: 0, all: 1, words: "The data is being fetched." };
  const nodes = Object.entries(run.graph.nodes);
  const isDone = ([, node]) => node.state === "completed";
  const trials = nodes.filter(([, node]) => node.kind === "ml.evaluate");
  const is = (name) => run.graph.nodes[name]?.state === "completed";
  const words = [`${trials.filter(isDone).length} of ${trials.length} trials on the past are done`];
  if (is("promote")) words.push("the champion is chosen");
  if (is("predict")) words.push("it has forecast");
  return { done: nodes.filter(isDone).length, all: nodes.length, words: `${words.join(", ")}.` };
}

/** The champion: its version and what its configuration is called; null when there is none. */
export async function champion() {
  try {
    const alias = await get("models/outbreak/aliases/champion");
    const version = await get(`models/outbreak/versions/${alias.version}`);
    const config = await get(`configs/${version.config_id}`);
    return { name: config.name, number: version.number, metrics: version.metrics, since: alias.at, gate: alias.gate };
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

/** What the backtest of a run has found. */
export const report = async (run) => (await get(`artifacts/${run.told.report_id}`)).data.content;
