// What the page asks of the server. Errors carry the server's own words.

const HEADERS = {'X-STT-MM': '1'};

export class Refusal extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const url = (path, query) => `${path}?${new URLSearchParams(query)}`;

async function ask(path, query, options) {
  let reply;
  try {
    reply = await fetch(url(path, query), options);
  } catch {
    throw new Refusal('The program does not answer. Is it still running?', 0);
  }
  if (reply.ok) return reply;
  const text = await reply.text();
  let message;
  try {
    message = JSON.parse(text).error;
  } catch {
    message = `${reply.status} ${reply.statusText}`;
  }
  throw new Refusal(message, reply.status);
}

export const get = async (path, query = {}) => (await ask(path, query, {})).json();

export const post = async (path, query, content = {}) =>
  (await ask(path, query, {method: 'POST', headers: HEADERS, body: JSON.stringify(content)})).json();

export const put = async (path, query, body) => (await ask(path, query, {method: 'PUT', headers: HEADERS, body})).json();

export const address = url;

// The details of a frame, and its ids: a line of JSON and a byte for each pixel.
export async function shown(video, frame) {
  const bytes = new Uint8Array(await (await ask('/api/shown', {video, frame}, {})).arrayBuffer());
  const line = bytes.indexOf(10);
  return {...JSON.parse(new TextDecoder().decode(bytes.subarray(0, line))), ids: bytes.slice(line + 1)};
}

// One video, or the images of a folder; `progress` gets the share that is sent.
export function upload(files, folder, progress) {
  const list = new TextEncoder().encode(JSON.stringify({folder, files: files.map((file) => [file.name, file.size])}));
  const size = new DataView(new ArrayBuffer(4));
  size.setUint32(0, list.length);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open('PUT', '/api/upload');
    for (const [name, value] of Object.entries(HEADERS)) request.setRequestHeader(name, value);
    request.responseType = 'json';
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onload = () =>
      request.status === 200
        ? resolve(request.response.video)
        : reject(new Refusal(request.response?.error ?? `${request.status}`, request.status));
    request.onerror = () => reject(new Refusal('The upload was cut off. Is the program still running?', 0));
    request.send(new Blob([size.buffer, list, ...files]));
  });
}
