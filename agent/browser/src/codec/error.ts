/** A payload that no encoder could have written; the message is the reason. */
export class CodecError extends Error {
  override readonly name = "CodecError";
}
