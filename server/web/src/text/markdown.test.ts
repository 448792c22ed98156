import { expect, test } from "vitest";
import { blocks, inline } from "./markdown";

test("headings, paragraphs, lists and code are told apart", () => {
  const made = blocks("# Offline\n\nA board\nis away.\n\n- look\n  again\n- **wait**\n\n1. go\n2. see\n\n```\nedgepress device list\n```\n\n    indented\n");
  expect(made.map((each) => each.is)).toEqual(["heading", "paragraph", "list", "list", "code", "code"]);
  expect(made[1]).toEqual({ is: "paragraph", of: [{ is: "text", text: "A board is away." }] });
  expect(made[2]).toMatchObject({ ordered: false, items: [[{ text: "look again" }], [{ is: "strong", text: "wait" }]] });
  expect(made[3]).toMatchObject({ ordered: true });
  expect(made[4]).toEqual({ is: "code", text: "edgepress device list" });
  expect(made[5]).toEqual({ is: "code", text: "indented" });
});

test("a list may follow its sentence without an empty line", () => {
  expect(blocks("Look at\n- one\n- two").map((each) => each.is)).toEqual(["paragraph", "list"]);
});

test("code, strong text and links stand in a line", () => {
  expect(inline("run `a b`, **now**, see [docs](/alerts)")).toEqual([
    { is: "text", text: "run " },
    { is: "code", text: "a b" },
    { is: "text", text: ", " },
    { is: "strong", text: "now" },
    { is: "text", text: ", see " },
    { is: "link", text: "docs", href: "/alerts" },
  ]);
});

test("a link to anything but a page is text", () => {
  expect(inline("[x](javascript:alert)")).toEqual([{ is: "text", text: "[x](javascript:alert)" }]);
  expect(inline("[x](//elsewhere)")).toEqual([{ is: "text", text: "[x](//elsewhere)" }]);
});

test("an unclosed fence ends with the text", () => {
  expect(blocks("```\nopen")).toEqual([{ is: "code", text: "open" }]);
});
