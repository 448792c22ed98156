import { bloomier } from "./bloomier.ts";
import { context, gaps, huffman, rans, type SymbolDecoder } from "./symbols.ts";

/** Codings of symbols by the names of the page "The artifact file". */
export const SYMBOL_DECODERS: ReadonlyMap<string, SymbolDecoder> = new Map<string, SymbolDecoder>([
  ["huffman", huffman],
  ["gaps", gaps],
  ["rans", rans],
  ["context", (job) => context(job)],
  ["bloomier", bloomier],
]);
