// Route patterns.

export type Params = Record<string, string>;

/** "/devices/:name" against "/devices/pi-4" -> {name: "pi-4"}; null when it does not match. */
export function match(pattern: string, path: string): Params | null {
  const want = pattern.split("/");
  const have = path.replace(/\/+$/, "").split("/");
  if (path !== "/" && have.length !== want.length) return null;
  const params: Params = {};
  for (const [i, part] of want.entries()) {
    const value = have[i] ?? "";
    if (part.startsWith(":")) {
      if (value === "") return null;
      try {
        params[part.slice(1)] = decodeURIComponent(value);
      } catch {
        return null; // a broken %-escape names nothing
      }
    } else if (part !== value) return null;
  }
  return params;
}
