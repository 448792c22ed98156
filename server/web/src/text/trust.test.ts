import { expect, test } from "vitest";
import type { KeysRole } from "../api/trust";
import { signatureSteps, whereWord } from "./trust";

const role = (name: KeysRole["role"], here: boolean[], threshold = 1): KeysRole => ({
  role: name,
  threshold,
  keys: here.map((each, i) => ({ keyid: `k${i}`, here: each })),
});

test.each([
  [role("release", [false]), "kept elsewhere"],
  [role("release", [true, false], 2), "in part elsewhere"],
  [role("director", [true]), "on the server"],
])("%o is %s", (of, words) => expect(whereWord(of).text).toBe(words));

test("a director key that is not there is bad, a root key that is not there is good", () => {
  expect(whereWord(role("director", [false])).tone).toBe("bad");
  expect(whereWord(role("root", [false])).tone).toBe("good");
});

test("the commands name the release", () => {
  expect(signatureSteps("re-12", "release").map((step) => step.command)).toEqual([
    "edgepress keys export re-12 -o re-12.bundle",
    "edgepress keys sign re-12.bundle --key RELEASE-KEY.pem",
    "edgepress keys import re-12.bundle",
  ]);
});
