// What the devices page shows, as its address holds it, and as the API is asked.

export const PAGE = 100; // rows

export const SORTS = [
  ["name", "Name"],
  ["status", "Status"],
  ["profile", "Profile"],
  ["model", "Model"],
  ["-p95_us", "Slowest"],
  ["-errors", "Most errors"],
  ["-rss_bytes", "Most memory"],
  ["-cpu_percent", "Busiest"],
  ["-temp_c", "Hottest"],
  ["-power_mw", "Most power"],
  ["disk_free_bytes", "Fullest disk"],
  ["seen_at", "Longest unseen"],
  ["-seen_at", "Newest seen"],
] as const;

export interface Asked {
  q: string; // words
  where: string; // in the query language of rollouts
  status: string;
  profile: string;
  sort: string; // "-" before it: descending
  page: number; // from 1
}

export function readAsked(search: URLSearchParams): Asked {
  const page = Number(search.get("page"));
  return {
    q: search.get("q") ?? "",
    where: search.get("where") ?? "",
    status: search.get("status") ?? "",
    profile: search.get("profile") ?? "",
    sort: search.get("sort") ?? "name",
    page: Number.isInteger(page) && page > 0 && page < 100_000 ? page : 1,
  };
}

const quoted = (text: string) => `"${text.replace(/["\\]/g, "\\$&")}"`;

/** All that restricts which devices, as one query. */
export function whereOf({ where, status, profile }: Asked): string {
  const terms = [
    status && `status = ${quoted(status)}`,
    profile && `profile = ${quoted(profile)}`,
    where && (status || profile ? `(${where})` : where),
  ];
  return terms.filter(Boolean).join(" and ");
}

export function apiPath(asked: Asked, limit = PAGE): string {
  const parameters = new URLSearchParams();
  parameters.set("offset", String((asked.page - 1) * limit));
  parameters.set("limit", String(limit));
  parameters.set("sort", asked.sort);
  if (asked.q) parameters.set("q", asked.q);
  const where = whereOf(asked);
  if (where) parameters.set("where", where);
  return `/devices/page?${parameters.toString().replaceAll("+", "%20")}`;
}

/** The sort that a click on a column asks for: its usual direction first, then the other one. */
export function nextSort(now: string, column: string, firstDown: boolean): string {
  const [up, down] = [column, `-${column}`];
  if (now === up) return down;
  if (now === down) return up;
  return firstDown ? down : up;
}
export const sortedBy = (now: string, column: string): "ascending" | "descending" | undefined =>
  now === column ? "ascending" : now === `-${column}` ? "descending" : undefined;
