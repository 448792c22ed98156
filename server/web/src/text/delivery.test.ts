import { expect, test } from "vitest";
import type { DeliveryRules } from "../api/delivery";
import { deliveryText, deliveryWords, NO_RULES, readDelivery } from "./delivery";

const rules: DeliveryRules = {
  rate_bytes_s: 200_000,
  hours: ["22:00-06:00"],
  timezone: "Europe/Berlin",
  metered: "wait",
  transport: "https",
  start_within_s: 600,
  fleet_rate_bytes_s: null,
};

test("what is typed comes back as it was set", () => {
  expect(readDelivery(deliveryText(rules), true)).toEqual(rules);
  expect(readDelivery(NO_RULES, false)).toEqual({
    rate_bytes_s: null,
    hours: [],
    timezone: "UTC",
    metered: "allow",
    transport: "auto",
    start_within_s: 0,
  });
});

test.each([
  [{ hours: "22-6" }, "no span of hours"],
  [{ hours: "25:00-06:00" }, "no span of hours"],
  [{ rate: "0.2" }, "1 KB/s"],
  [{ rate: "fast" }, "1 KB/s"],
])("%o is refused before it is sent", (odd, sentence) => {
  expect(readDelivery({ ...NO_RULES, ...odd }, false)).toContain(sentence);
});

test("rules in words", () => {
  expect(deliveryWords(rules)).toEqual([
    "at most 200 KB/s",
    "only from 22:00 to 06:00 (Europe/Berlin)",
    "not over a metered link",
    "by HTTPS only",
    "begins at a moment drawn from 10 min",
  ]);
  expect(deliveryWords({ ...rules, hours: [[1320, 360]] })[1]).toContain("22:00 to 06:00");
});
