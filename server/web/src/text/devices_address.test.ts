import { describe, expect, it } from "vitest";
import { apiPath, nextSort, readAsked, sortedBy, whereOf } from "./devices_address";

const read = (text: string) => readAsked(new URLSearchParams(text));

describe("the devices page's address", () => {
  it("asks for the first page by name where it says nothing", () => {
    expect(apiPath(read(""))).toBe("/devices/page?offset=0&limit=100&sort=name");
  });
  it("asks for what it says", () => {
    const path = apiPath(read("q=pi+hall&status=offline&profile=raspberry-pi-4&sort=-temp_c&page=3"));
    const asked = new URLSearchParams(path.slice(path.indexOf("?")));
    expect(Object.fromEntries(asked)).toEqual({
      offset: "200",
      limit: "100",
      sort: "-temp_c",
      q: "pi hall",
      where: 'status = "offline" and profile = "raspberry-pi-4"',
    });
  });
  it("keeps a query of one's own together", () => {
    expect(whereOf(read("where=site=a or site=b"))).toBe("site=a or site=b");
    expect(whereOf(read("where=site=a or site=b&status=online"))).toBe('status = "online" and (site=a or site=b)');
  });
  it("lets no value out of its quotes", () => {
    expect(whereOf({ ...read(""), profile: 'a" or name = "b\\' })).toBe('profile = "a\\" or name = \\"b\\\\"');
  });
  it.each(["0", "-3", "x", "1.5", "1e99"])("page %s is the first", (page) => expect(read(`page=${page}`).page).toBe(1));
});

it("a column is sorted one way, then the other", () => {
  expect(nextSort("name", "temp_c", true)).toBe("-temp_c");
  expect(nextSort("-temp_c", "temp_c", true)).toBe("temp_c");
  expect(nextSort("temp_c", "temp_c", true)).toBe("-temp_c");
  expect(sortedBy("-temp_c", "temp_c")).toBe("descending");
  expect(sortedBy("name", "temp_c")).toBeUndefined();
});
