import { expect, it } from "vitest";
import { query, readError, UNREACHABLE } from "./client";

it.each([
  ["the API's own message", 409, '{"error": {"code": "device_exists", "message": "There is one already."}}', "device_exists", "There is one already."],
  ["a proxy's page while the server restarts", 502, "<html>Bad Gateway</html>", "unreachable", UNREACHABLE],
  ["a proxy's own limit", 413, "<html>", "too_large", "The file is larger than the server takes."],
  ["an answer without words", 418, "", "error", "The server answered with status 418 and no explanation."],
  ["JSON of another shape", 400, '{"error": "x"}', "error", "The server answered with status 400 and no explanation."],
])("an error is shown as %s", (_, status, text, code, message) => {
  const error = readError(status, text);
  expect([error.status, error.code, error.message]).toEqual([status, code, message]);
});

it("a query leaves out what is absent and escapes the rest", () => {
  expect(query({ name: "a b&c", dataset: "", from: 0, to: null, step: undefined })).toBe("?name=a%20b%26c&from=0");
  expect(query({ dataset: null })).toBe("");
});
