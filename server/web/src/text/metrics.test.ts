import { expect, test } from "vitest";
import { better, change, changeWords, families, formatOf, gravestFirst } from "./metrics";

test("metrics are listed by family, and none is lost", () => {
  const names = ["rss_bytes", "errors", "latency_us", "errors_busy", "newest_thing", "throttled", "input_psi", "net_rx_bytes"];
  const found = families(names.map((name) => ({ name })));
  expect(found.map(([family]) => family)).toEqual(["Latency", "Errors", "Memory", "Processor", "Disk and network", "Drift", "Other"]);
  expect(found.flatMap(([, some]) => some).length).toBe(names.length);
});

test.each([
  ["us", "p95", undefined, 1712, "1.71 ms"],
  ["B", "mean", "gauge", 45_000_000, "45 MB"],
  ["B/s", "rate", "count", 1500, "1.5 KB/s"],
  ["1/s", "rate", "count", 12.34, "12.3/s"],
  ["", "sum", "count", 1_234_567, "1.23 M"],
  ["", "ratio", "count", 0.0523, "5.2 %"],
  ["", "mean", "flag", 0.25, "25.0 %"],
  ["", "mean", "gauge", 0.2513, "0.251"],
  ["dBm", "mean", "gauge", -61, "-61 dBm"],
  ["ms", "sum", "count", 60_000, "60 s"],
] as const)("%s as %s of a %s: %d is %s", (unit, aggregate, kind, value, text) => {
  expect(formatOf(unit, aggregate, kind)(value)).toBe(text);
});

test("nothing measured is a dash in every unit", () => {
  for (const unit of ["us", "B", "%", "°C", "mW", "mJ", "ms", "", "MHz", "B/s", "/s"]) expect(formatOf(unit)(null)).toBe("–");
});

test("a change says its direction; from nothing there is none", () => {
  expect(changeWords(change(120, 100))).toBe("+20 %");
  expect(changeWords(change(90, 100))).toBe("−10 %");
  expect(changeWords(change(100.2, 100))).toBe("same");
  expect(changeWords(change(20, 1.1))).toBe("18 times");
  expect(change(5, 0)).toBeNull();
  expect(changeWords(change(null, 4))).toBe("–");
});

test("slower is worse, more requests are better, a clock is neither", () => {
  expect(better("latency_us", 30)).toBe(false);
  expect(better("rss_bytes", -30)).toBe(true);
  expect(better("inferences", 30)).toBe(true);
  expect(better("cpu_mhz", 30)).toBeNull();
  expect(better("temp_c", 1)).toBeNull();
});

test("groups come in the order in which they matter", () => {
  const some = [{ total: 1 }, { total: null }, { total: 3 }, { total: 2 }];
  expect(gravestFirst(some, "p95").map((each) => each.total)).toEqual([3, 2, 1, null]);
  expect(gravestFirst(some, "min").map((each) => each.total)).toEqual([1, 2, 3, null]);
});
