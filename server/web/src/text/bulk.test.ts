import { expect, test } from "vitest";
import { codesCsv } from "./bulk";

test("codes are a CSV file with a header, and commas are quoted", () => {
  const codes = [{ device: "pi-1", code: "AB,CD", expires_at: 0, enrol_url: "https://h/#x" }];
  expect(codesCsv(codes)).toBe('name,code,enrol_url,expires_at\npi-1,"AB,CD",https://h/#x,1970-01-01T00:00:00.000Z\n');
});
