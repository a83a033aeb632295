/** Requests to the server of this page. Every failure becomes an {@link ApiError} with a sentence for the reader. */

/** A failed request. `status` 0: no answer at all. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
    this.name = 'ApiError';
  }
}

let signInWanted = (): void => undefined;

/** Has `call` called whenever the server wants to know who asks. */
export function onSignInWanted(call: () => void): void {
  signInWanted = call;
}

/** The failure that a status means. */
export function refusal(status: number, message: string): ApiError {
  if (status === 401) signInWanted();
  return new ApiError(status, message);
}

const meta = (name: string): string => {
  const content = document.querySelector<HTMLMetaElement>(`meta[name="${name}"]`)?.content ?? '';
  // Served without the template step (the development server): no prefix.
  return content.startsWith('{{') ? '' : content;
};

/** `--path-prefix` of the server, without a slash at the end. */
export const PATH_PREFIX = meta('decima-path-prefix').replace(/\/+$/, '');
/** Version of the server. */
export const VERSION = meta('decima-version');
/** Anybody on the network may read and write here. */
export const OPEN = meta('decima-open') === 'yes';
/** There are no profiles here: what comes in goes on to another store. */
export const FORWARDS = meta('decima-forwards') === 'yes';

/** Parameters of a request; a list repeats its name, undefined is left out. */
export type Parameters = Record<string, string | readonly string[] | undefined>;

const url = (path: string, parameters: Parameters): string => {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    if (value === undefined) continue;
    if (typeof value === 'string') search.append(name, value);
    else for (const item of value) search.append(name, item);
  }
  const text = search.toString();
  return `${PATH_PREFIX}/api${path}${text ? `?${text}` : ''}`;
};

const WORDS: Record<number, string> = {
  401: 'The server wants to know who asks.',
  403: 'The server refuses this request.',
  429: 'The server has too much to do right now. Try again in a moment.',
  502: 'The proxy before the server got no answer from it.',
  503: 'The server is not ready yet.',
  504: 'The server took too long to answer.',
};

/** What a response of no success says. */
export async function failure(response: Response): Promise<ApiError> {
  let message = '';
  try {
    const body: unknown = await response.json();
    if (typeof body === 'object' && body !== null && 'message' in body && typeof body.message === 'string') {
      message = body.message;
    }
  } catch {
    // Not JSON: a proxy's page. Its status says enough.
  }
  return refusal(
    response.status,
    message || WORDS[response.status] || `The server answered with status ${response.status}.`,
  );
}

/** Sends a request and gives whatever response there is. */
export async function reach(address: string, request: RequestInit): Promise<Response> {
  try {
    return await fetch(address, request);
  } catch (cause) {
    if (request.signal?.aborted) throw cause;
    throw new ApiError(0, 'The server does not answer. Is Decima still running?');
  }
}

/** Sends a GET; gives the response if its status says success. */
export async function get(path: string, parameters: Parameters, signal?: AbortSignal, accept = 'application/json'): Promise<Response> {
  const response = await reach(url(path, parameters), { headers: { Accept: accept }, signal });
  if (!response.ok) throw await failure(response);
  return response;
}

/** {@link get} for JSON. */
export async function getJson<T>(path: string, parameters: Parameters, signal?: AbortSignal): Promise<T> {
  const response = await get(path, parameters, signal);
  try {
    return (await response.json()) as T;
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(response.status, 'The answer is not JSON. Is there another program between this page and Decima?');
  }
}

/** True for the failure of a request that the page itself gave up. */
export const isAbort = (cause: unknown): boolean => cause instanceof DOMException && cause.name === 'AbortError';
