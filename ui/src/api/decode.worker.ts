/** The worker's side of `decode.ts`. */
import { SymbolPool } from '../flame/symbols';
import { decodeFlame } from './arrow';
import type { DecodeAnswer, DecodeRequest } from './decode';
import { send } from './transfer';

const scope = self as unknown as { postMessage(answer: DecodeAnswer, transfer?: ArrayBuffer[]): void; onmessage: ((event: MessageEvent<DecodeRequest>) => void) | null };

scope.onmessage = ({ data: { id, bytes, compares } }) => {
  try {
    const tree = decodeFlame(bytes, new SymbolPool(), compares);
    if (!tree) scope.postMessage({ id, tree: null });
    else {
      const { sent, buffers } = send(tree);
      scope.postMessage({ id, tree: sent }, buffers);
    }
  } catch (cause) {
    scope.postMessage({ id, error: cause instanceof Error ? cause.message : String(cause) });
  }
};
