import { describe, expect, it } from "vitest";
import { deviceNameProblem, labelsText, modelNameOf, parseLabels } from "./names";

describe("device names are DNS labels, as the wire protocol has them", () => {
  it.each(["a", "pi-4", "9lives", "a".repeat(63)])("%s is one", (name) => {
    expect(deviceNameProblem(name)).toBeNull();
  });
  it.each(["", "Pi", "pi_4", "-pi", "pi-", "a b", "a/b", "a".repeat(64)])("%s is none", (name) => {
    expect(deviceNameProblem(name)).not.toBeNull();
  });
});

describe("a model is named after its file", () => {
  it.each([
    ["digits-cnn.onnx", "digits-cnn"],
    ["SqueezeNet 1.1 (v2).onnx", "squeezenet-1.1-v2"],
    ["._weird__.pt2", "weird"],
    ["modèle.onnx", "mod-le"],
    ["squeezenet1.1.onnx", "squeezenet1.1"],
  ])("%s", (file, name) => {
    expect(modelNameOf(file)).toBe(name);
  });
});

describe("labels", () => {
  it("are read from key=value with commas and written back the same", () => {
    const labels = { site: "lab", rack: "3", note: "a=b" };
    expect(parseLabels(" site=lab, rack=3 ,note=a=b,")).toEqual(labels);
    expect(parseLabels(labelsText(labels))).toEqual(labels);
    expect(parseLabels("")).toEqual({});
  });
  it.each(["site", "=x", "a b=c"])("%s gets a sentence that says how", (text) => {
    expect(parseLabels(text)).toContain("key=value");
  });
});
