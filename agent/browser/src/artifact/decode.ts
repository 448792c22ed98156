import { loadCodec } from "../codec/native.ts";
import { ArtifactDecoder, type DecodeOptions } from "./decoder.ts";

let bundled: Promise<WebAssembly.Module> | null = null;

/** The codec beside this code, compiled once. */
export function bundledCodec(): Promise<WebAssembly.Module> {
  bundled ??= loadCodec();
  bundled.catch(() => (bundled = null)); // asked for again, it is tried again
  return bundled;
}

/** The ONNX file of a whole artifact, bit for bit. Raises ArtifactError, which names the section and the reason. */
export async function decodeArtifact(artifact: Uint8Array, options: DecodeOptions): Promise<Uint8Array> {
  const decoder = new ArtifactDecoder(await bundledCodec(), options);
  decoder.push(artifact);
  return decoder.finish();
}
