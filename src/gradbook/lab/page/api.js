// Requests to the server.

async function answer(response) {
  let body = null;
  try {
    body = await response.json();
  } catch {
    // an answer that is no JSON, as that of the guard
  }
  if (!response.ok) {
    const error = new Error(body?.error ?? (await describe(response)));
    error.status = response.status;
    throw error;
  }
  return body;
}

async function describe(response) {
  return `${response.status} ${response.statusText}`;
}

/** The JSON that an address has; `query` gives its parameters. */
export async function get(path, query = {}) {
  const search = new URLSearchParams(query).toString();
  return answer(await fetch(search ? `${path}?${search}` : path));
}

/** Sends a JSON object, and gives the JSON of the answer. */
export async function post(path, body = {}) {
  return answer(await fetch(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  }));
}
