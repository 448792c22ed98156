// Pages that belong together, as a row of links under the heading of each.

import { useMay } from "../api/session";
import type { Role } from "../api/types";
import { Link } from "./link";

interface Tab {
  href: string;
  label: string;
  needs?: Role;
}

export const SETTINGS_TABS: readonly Tab[] = [
  { href: "/settings", label: "General" },
  { href: "/people", label: "People", needs: "admin" },
  { href: "/trust", label: "Keys" },
  { href: "/audit", label: "Audit log", needs: "operator" },
];
export const DEVICE_TABS: readonly Tab[] = [
  { href: "/devices", label: "Devices" },
  { href: "/groups", label: "Groups" },
];
export const ALERT_TABS: readonly Tab[] = [
  { href: "/alerts", label: "Alerts" },
  { href: "/alerts/rules", label: "Rules" },
  { href: "/alerts/silences", label: "Silences" },
  { href: "/alerts/channels", label: "Channels" },
];

export function Tabs({ label, tabs, here }: { label: string; tabs: readonly Tab[]; here: string }) {
  const may = { viewer: true, operator: useMay("operator"), admin: useMay("admin") };
  return (
    <nav class="tabs" aria-label={label}>
      <ul>
        {tabs
          .filter((tab) => may[tab.needs ?? "viewer"])
          .map(({ href, label: text }) => (
            <li key={href}>
              <Link
                href={href}
                aria-current={href === here ? "page" : undefined}
                data-testid={`tab-${href.slice(1).replace("/", "-")}`}
              >
                {text}
              </Link>
            </li>
          ))}
      </ul>
    </nav>
  );
}
