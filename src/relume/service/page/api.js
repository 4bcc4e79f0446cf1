// The HTTP API, as the page uses it.

const BASE = "/api/v1";
let asking = null;

export class Problem extends Error {
  constructor(facts) {
    super(facts.detail || facts.title || "the service did not answer");
    this.status = facts.status;
  }
}

/** The token of this tab, asked for once when the service wants one. */
function askForToken() {
  asking ??= new Promise((resolve) => {
    const dialog = document.querySelector("#ask");
    dialog.addEventListener("close", () => {
      sessionStorage.setItem("token", document.querySelector("#token").value);
      asking = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return asking;
}

async function call(path, options = {}) {
  const token = sessionStorage.getItem("token");
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  let answer;
  try {
    answer = await fetch(path.startsWith("/") ? path : `${BASE}/${path}`, { ...options, headers });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem({ detail: "the service cannot be reached", status: 0 });
  }
  if (answer.status === 401) {
    await askForToken();
    return call(path, options);
  }
  if (!answer.ok) throw new Problem(await answer.json().catch(() => ({ status: answer.status })));
  return answer;
}

/** Sends a picture; waits its turn when the queue is full. */
export async function submit(form, onWait) {
  for (;;) {
    try {
      return await (await call("jobs", { method: "POST", body: form })).json();
    } catch (problem) {
      if (problem.status !== 429 && problem.status !== 503) throw problem;
      onWait(problem.message);
      await new Promise((resolve) => setTimeout(resolve, 3000));
    }
  }
}

export const states = async (ids) => (await call(`jobs?${ids.map((id) => `id=${id}`).join("&")}`)).json();
export const remove = (id) => call(`jobs/${id}`, { method: "DELETE" });
export const blob = async (path) => (await call(path)).blob();
export const sent = (id) => blob(`jobs/${id}/picture`);
export const screen = (id, of) => blob(`jobs/${id}/screen?of=${of}`);

/** Reads server-sent events; `told(event, job)` is called for each. Ends with the job. */
export async function follow(id, told, signal) {
  const reader = (await call(`jobs/${id}/events`, { signal })).body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: (.*)/s)));
      if (fields.event) told(fields.event, JSON.parse(fields.data));
    }
  }
}
