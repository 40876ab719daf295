// The REST API. An error is an Error whose message is the one line of the server.

export const me = Math.random().toString(36).slice(2);

async function call(method, path, body, options = {}) {
  const headers = {"x-page": me, ...options.headers};
  if (body !== undefined && !options.raw) headers["content-type"] = "application/json";
  let answer;
  try {
    answer = await fetch(path, {method, headers, body: options.raw ? body : body && JSON.stringify(body)});
  } catch {
    throw new Error("the studio does not answer; is it running?");
  }
  if (!answer.ok) {
    const said = await answer.json().catch(() => ({}));
    throw new Error(said.error || `the studio answered ${answer.status}`);
  }
  return options.whole ? answer : answer.json();
}

const song = id => `/api/songs/${encodeURIComponent(id)}`;
export const takeUrl = (id, step, stem, what, version) =>
  `${song(id)}/takes/${step}/${encodeURIComponent(stem)}/${what}${version ? `?v=${version.slice(0, 16)}` : ""}`;

export const api = {
  studio: () => call("GET", "/api/studio"),
  songs: () => call("GET", "/api/songs"),
  create: desk => call("POST", "/api/songs", desk),
  song: id => call("GET", song(id)),
  prepare: (id, desk) => call("PATCH", song(id), desk),
  mix: (id, strips) => call("PATCH", `${song(id)}/mixer`, strips),
  now: (id, change) => call("POST", `${song(id)}/now`, change),
  ask: (id, job) => call("POST", `${song(id)}/jobs`, job),
  bring: (id, uploads) => call("POST", `${song(id)}/stems`, {uploads}),
  upload: (file, tempo) => call(
    "POST", `/api/uploads?name=${encodeURIComponent(file.name)}&tempo=${tempo ? 1 : 0}`, file, {raw: true}),
  jobs: () => call("GET", "/api/jobs"),
  cancel: id => call("DELETE", `/api/jobs/${id}`),
  export: (id, query) => call("GET", `${song(id)}/export?${new URLSearchParams(query)}`, undefined, {whole: true}),
  remove: id => call("DELETE", song(id)),
  removeTake: (id, step, stem) => call("DELETE", `${song(id)}/takes/${step}/${encodeURIComponent(stem)}`),
  bin: () => call("GET", "/api/bin"),
  restore: thing => call("POST", `/api/bin/${encodeURIComponent(thing)}`),
  forget: thing => call("DELETE", `/api/bin/${encodeURIComponent(thing)}`),
  bytes: async url => {
    const answer = await fetch(url);
    if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).error || "audio cannot be loaded");
    return answer.arrayBuffer();
  },
};

/** Calls `hear` with each event; `again` after the connection was lost. */
export function listen(hear, again) {
  const source = new EventSource("/api/events");
  let lost = false;
  source.onmessage = event => hear(JSON.parse(event.data));
  source.onerror = () => { lost = true; };
  source.onopen = () => { if (lost) { lost = false; again(); } };
}
