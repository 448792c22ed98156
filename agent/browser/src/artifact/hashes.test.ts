import { createHash, randomBytes } from "node:crypto";
import { crc32 as zlibCrc32 } from "node:zlib";
import { expect, test } from "vitest";
import { crc32 } from "./crc32.ts";
import { Sha256 } from "./sha256.ts";

test("SHA-256 and CRC-32 of messages of every length are those of Node", () => {
  for (let size = 0; size < 200; size++) {
    const message = randomBytes(size);
    const sha256 = new Sha256();
    const cut = Math.floor(size / 3);
    sha256.update(message, 0, cut);
    sha256.update(message, cut);
    expect(sha256.hex()).toBe(createHash("sha256").update(message).digest("hex"));
    expect(crc32(message)).toBe(zlibCrc32(message));
    expect(crc32(message, cut, size, crc32(message, 0, cut))).toBe(zlibCrc32(message));
  }
});
