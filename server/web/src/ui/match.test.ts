import { expect, it } from "vitest";
import { match } from "./match";

it.each([
  ["/", "/", {}],
  ["/", "/devices", null],
  ["/devices", "/devices/", {}],
  ["/devices/:name", "/devices/pi-4", { name: "pi-4" }],
  ["/devices/:name", "/devices", null],
  ["/devices/:name", "/devices/a/b", null],
  ["/models/:name", "/models/squeezenet1.1", { name: "squeezenet1.1" }],
  ["/models/:name", "/models/a%20b", { name: "a b" }],
  ["/models/:name", "/models/%E0%A4%A", null],
])("%s against %s", (pattern, path, wanted) => {
  expect(match(pattern, path)).toEqual(wanted);
});
