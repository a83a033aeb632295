/**
 * gRPC-Web, as far as this page needs it: one message there, one message back. Used where "nothing
 * found" is an answer: over REST it would be a 404, which browsers write to the console as an error
 * that nobody made.
 */
import { failure, PATH_PREFIX, reach, refusal } from './fetch';
import { frame, unframe } from './message';

const NOT_FOUND = 5;

/** The HTTP status that says what a gRPC code says, for the codes that the page tells apart. */
const HTTP_STATUS: Record<number, number> = { 3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 12: 501, 14: 503, 16: 401 };

const percentDecoded = (text: string): string => {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
};

/** Calls a method; null where it answers NotFound. */
export async function call(method: string, request: Uint8Array, signal?: AbortSignal): Promise<Uint8Array | null> {
  const response = await reach(
    `${PATH_PREFIX}/api/${method}`,
    { method: 'POST', headers: { 'Content-Type': 'application/grpc-web+proto', 'X-Grpc-Web': '1' }, body: frame(request) as BufferSource, signal },
  );
  if (!response.ok) throw await failure(response);
  const { message, trailers } = unframe(new Uint8Array(await response.arrayBuffer()));
  // A failure before the first message may come in the headers alone.
  const said = (name: string): string | null => trailers.get(name) ?? response.headers.get(name);
  const code = Number(said('grpc-status') ?? (message ? 0 : 2));
  if (code === NOT_FOUND) return null;
  if (code !== 0) throw refusal(HTTP_STATUS[code] ?? 500, percentDecoded(said('grpc-message') ?? '') || `The server answered with gRPC status ${code}.`);
  return message ?? new Uint8Array();
}
