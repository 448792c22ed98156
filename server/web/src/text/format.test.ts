import { describe, expect, it } from "vitest";
import { accuracy, ago, bytes, celsius, clock, count, micros, part, percent, perSecond, plural, ratio, seconds, shape, short, span, until, watts } from "./format";

describe("numbers keep three digits and change unit before a fourth appears", () => {
  it.each([
    [bytes(0), "0 B"],
    [bytes(999), "999 B"],
    [bytes(999.6), "1 KB"],
    [bytes(12_345), "12.3 KB"],
    [bytes(4_941_984), "4.94 MB"],
    [bytes(999_600), "1 MB"],
    [bytes(2e9), "2 GB"],
    [micros(852), "852 µs"],
    [micros(999.7), "1 ms"],
    [micros(12_345), "12.3 ms"],
    [micros(2_500_000), "2.5 s"],
    [watts(0), "0 W"],
    [watts(850), "850 mW"],
    [watts(3_900), "3.9 W"],
    [count(999), "999"],
    [count(61_706), "61.7 k"],
    [count(1_235_496), "1.24 M"],
    [short(0.01234), "0.0123"],
    [short(1234.5), "1,235"],
    [perSecond(0), "0/s"],
    [ratio(39.96), "40×"],
    [ratio(3.912), "3.9×"],
    [percent(50.44), "50.4 %"],
    [accuracy(0.98366), "98.37 %"],
  ])("%s", (shown, wanted) => {
    expect(shown).toBe(wanted);
  });
});

it("what is absent is a dash and never a zero", () => {
  for (const format of [bytes, micros, watts, count, short, celsius, percent, accuracy, perSecond, ratio]) {
    expect(format(null)).toBe("–");
    expect(format(undefined)).toBe("–");
  }
  expect(bytes(Number.NaN)).toBe("–");
});

describe("lengths of time", () => {
  it.each([
    [span(95_000), "1 min"],
    [span(400), "0 s"],
    [span(26 * 3_600_000), "1 d"],
    [clock(83_000), "1:23"],
    [clock(3_723_000), "1:02:03"],
    [seconds(0.38), "0.4 s"],
    [seconds(212.4), "3:32"],
    [part(0.0004), "< 0.1 %"],
    [part(0.8361), "83.6 %"],
    [part(0), "0.0 %"],
    [ago(null, 0), "never"],
    [ago(1000, 3000), "just now"],
    [ago(1000, 91_000), "1 min ago"],
    [until(1000, 1000), "expired"],
    [until(24 * 3_600_000, 1), "in 1 d"],
    [until(5.5 * 3_600_000, 0), "in 6 h"],
  ])("%s", (shown, wanted) => {
    expect(shown).toBe(wanted);
  });
});

it("a shape shows the batch as N and a scalar as a word", () => {
  expect(shape(["N", 3, 224, 224])).toBe("N × 3 × 224 × 224");
  expect(shape([null, 10])).toBe("N × 10");
  expect(shape([])).toBe("scalar");
});

it("counts are said in the singular and the plural", () => {
  expect([plural(1, "device"), plural(0, "device"), plural(2, "canary", "canaries")]).toEqual([
    "1 device",
    "0 devices",
    "2 canaries",
  ]);
});
