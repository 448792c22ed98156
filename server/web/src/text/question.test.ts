import { expect, test } from "vitest";
import type { Catalogue } from "../api/telemetry";
import { exportHref, metricOf, over, questionHref, questionPath, readQuestion, withMetric } from "./question";

const read = (text: string) => readQuestion(new URLSearchParams(text));

test("an empty address asks for the last hour's p95 by profile", () => {
  expect(questionPath(read(""))).toBe("/telemetry/query?metric=latency_us&group_by=profile&last_ms=3600000");
});

test("a question survives the way into an address and back", () => {
  const q = read("metric=temp_c&aggregate=max&group_by=label:site&where=site%20%3D%20%22hall%203%22&from=1000&to=5000&step_ms=60000&view=table&compare=1");
  expect(q.where).toBe('site = "hall 3"');
  expect(read(questionHref(q).split("?")[1]!)).toEqual(q);
});

test("a range that goes backwards, or is no number, is the usual", () => {
  expect(read("from=5000&to=1000").lastMs).toBe(3_600_000);
  expect(read("last_ms=abc&step_ms=-5").lastMs).toBe(3_600_000);
  expect(read("step_ms=1e999").stepMs).toBeNull();
  expect(read("view=pie").view).toBe("line");
});

test("the time before is asked for on the same grid", () => {
  const path = questionPath(over(read("last_ms=900000"), 100, 200, 10));
  expect(path).toContain("from=100&to=200&step_ms=10");
  expect(path).not.toContain("last_ms");
});

test("an export asks the same question", () => {
  expect(exportHref(read("metric=errors&where=a=b"), "parquet")).toContain("metric=errors&group_by=profile&where=a%3Db");
});

const latency = { name: "latency_us", unit: "us", title: "Latency", aggregates: ["p95", "mean"], aggregate: "p95" } as const;
const memory = { name: "rss_bytes", unit: "B", title: "Memory", aggregates: ["mean", "max"], aggregate: "mean" } as const;
const catalogue = { metrics: [memory], histograms: [latency], group_by: [], labels: [], series_max: 50, points_max: 2000 } as unknown as Catalogue;

test("a metric keeps the aggregate that it has, else takes its own", () => {
  const q = read("metric=latency_us&aggregate=mean");
  expect(withMetric(q, metricOf(catalogue, "rss_bytes")!).aggregate).toBe("mean");
  expect(withMetric(read("aggregate=p95"), metricOf(catalogue, "rss_bytes")!).aggregate).toBeNull();
});

test("latency is short for latency_us", () => {
  expect(metricOf(catalogue, "latency")?.name).toBe("latency_us");
  expect(metricOf(catalogue, "nothing")).toBeUndefined();
});
