// node decode.ts: answers requests on standard input until it ends. A request is a line of JSON, {"bytes", "base_bytes", "max_bytes",
// "chunk_bytes"}, then the artifact and the base. The answer: a line of JSON, {"bytes", "peak_bytes"} and the ONNX file, or {"section",
// "reason"}. Any other exception ends the process with status 1: no artifact may cause it.
import { readSync, writeSync } from "node:fs";
import { bundledCodec } from "../src/artifact/decode.ts";
import { ArtifactDecoder } from "../src/artifact/decoder.ts";
import { ArtifactError } from "../src/artifact/error.ts";

interface Request {
  bytes: number;
  base_bytes: number | null;
  max_bytes: number;
  chunk_bytes: number;
}



/** `count` bytes of standard input, null at its end. */
function read(count: number): Buffer | null {
  const part = Buffer.alloc(count);
  let size = 0;
  while (size < count) {
    const got = readSync(0, part, size, count - size, null);
    if (got === 0) return null;
    size += got;
  }
  return part;
}

function readLine(): string | null {
  let line = "";
  for (let byte = read(1); byte; byte = read(1)) {
    if (byte[0] === 10) return line;
    line += String.fromCharCode(byte[0]!);
  }
  return null;
}

function write(bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(1, bytes, at);
}

const codec = await bundledCodec();
for (let line = readLine(); line !== null; line = readLine()) {
  const { bytes, base_bytes, max_bytes, chunk_bytes } = JSON.parse(line) as Request;
  const artifact = read(bytes)!;
  const base = base_bytes === null ? undefined : read(base_bytes)!;
  try {
    const decoder = new ArtifactDecoder(codec, { maxBytes: max_bytes, base });
    for (let at = 0; at < artifact.length; at += chunk_bytes) decoder.push(artifact.subarray(at, at + chunk_bytes));
    const model = decoder.finish();
    write(Buffer.from(JSON.stringify({ bytes: model.length, peak_bytes: decoder.peakBytes }) + "\n"));
    write(model);
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    write(Buffer.from(JSON.stringify({ section: error.section, reason: error.reason }) + "\n"));
  }
}
