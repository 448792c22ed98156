/** An artifact that cannot be decoded: `section` is "file", "header", "probe", "skeleton" or a tensor; `reason` says why. */
export class ArtifactError extends Error {
  override readonly name = "ArtifactError";
  readonly section: string;
  readonly reason: string;

  constructor(section: string, reason: string) {
    super(`${section}: ${reason}`);
    this.section = section;
    this.reason = reason;
  }
}
