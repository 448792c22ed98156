import { expect, test } from "vitest";
import type { Search, TrialFigures } from "../api/searches";
import { costText, lossWords, namedTrials, passWords, searchWord } from "./search_words";

const figures = (change: Partial<TrialFigures>) => ({ loss: null, loss_error: null, predicted: [], latency_us: null, ...change }) as unknown as TrialFigures;

test("a loss says its sign and how sure it is, and nothing where it was not looked at", () => {
  expect(lossWords(figures({ loss: 0.0042, loss_error: 0.001 }))).toBe("−0.42 ± 0.20 points");
  expect(lossWords(figures({ loss: -0.01 }))).toBe("+1.00 points");
  expect(lossWords(figures({ loss: 0 }))).toBe("0 points");
  expect(lossWords(figures({}))).toBeNull();
});

test("what was not measured is marked", () => {
  expect(costText(figures({ latency_us: 1200, predicted: ["latency_us"] }), "latency_us")).toBe("~1.2 ms");
  expect(costText(figures({ latency_us: 1200 }), "latency_us")).toBe("1.2 ms");
  expect(costText(figures({ predicted: ["latency_us"] }), "latency_us")).toBe("–");
});

test("a pass is told with its options; long lists are counted", () => {
  expect(passWords({ name: "int8" })).toBe("int8");
  expect(passWords({ name: "prune-channels", options: { keep: 0.5, cost: "latency", refit: true, floor: null } })).toBe(
    "prune-channels: keep 0.5, cost latency, refit",
  );
  expect(passWords({ name: "quantize", options: { bits: { a: 1, b: 2, c: 3, d: 4 } } })).toBe("quantize: bits for 4 layers");
});

test("a search that is done and found nothing does not look like success", () => {
  expect(searchWord({ state: "done", chosen: null, cancelling: false }).tone).toBe("warn");
  expect(searchWord({ state: "done", chosen: "ab", cancelling: false }).text).toBe("found");
  expect(searchWord({ state: "running", chosen: null, cancelling: true }).text).toBe("being cancelled");
});

test("the best so far is not called chosen before the end", () => {
  const search = { state: "running", best: 3, nearest: null } as unknown as Search;
  expect(namedTrials(search).get(3)).toBe("best so far");
  expect(namedTrials({ ...search, state: "done" }).get(3)).toBe("chosen");
  expect(namedTrials({ ...search, best: null, nearest: 4 }).get(4)).toBe("nearest");
});
