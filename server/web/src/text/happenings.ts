// Releases, rollouts' stages, alerts ... as annotations of a chart.

import type { Happening } from "../api/telemetry";
import type { Annotation } from "../plot/annotations";

const at = encodeURIComponent;
const HREF: Record<string, (each: Happening) => string | null> = {
  release: (each) => (each.model ? `/models/${at(each.model)}` : null),
  rollout: (each) => `/rollouts/${at(each.subject)}`,
  device: (each) => `/devices/${at(each.subject)}`,
  alert: (each) => `/alerts/${at(each.subject)}`,
  finding: (each) => `/findings/${at(each.subject)}`,
};

/** `here`: the address of the page that shows them, to which none leads again. */
export function annotationsOf(all: readonly Happening[], here?: string): Annotation[] {
  return all.map((each) => {
    const href = each.count > 1 ? null : (HREF[each.kind]?.(each) ?? null);
    return { at: each.at, label: each.title, kind: each.kind, href: href === here ? null : href };
  });
}
