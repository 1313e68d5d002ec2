// Requests to the server.

/** What is wrong, as the server says it; the guard's answers are no JSON. */
async function errorOf(response) {
  const body = await response.json().catch(() => null);
  const error = new Error(body?.error ?? `${response.status} ${response.statusText}`);
  error.status = response.status;
  return error;
}

async function answer(response) {
  if (!response.ok) throw await errorOf(response);
  return response.status === 204 ? null : response.json();
}

function send(path, body, signal) {
  return fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
    signal,
  });
}

/** The JSON that an address has; `query` gives its parameters. */
export async function get(path, query = {}) {
  const search = new URLSearchParams(query).toString();
  return answer(await fetch(search ? `${path}?${search}` : path));
}

/** Sends a JSON object, and gives the JSON of the answer; null of an empty one. */
export async function post(path, body = {}, signal = undefined) {
  return answer(await send(path, body, signal));
}

/** Sends a JSON object, and gives the file that is the answer. */
export async function postForFile(path, body) {
  const response = await send(path, body);
  if (!response.ok) throw await errorOf(response);
  return response.blob();
}
