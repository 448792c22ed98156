import type { ComponentChildren } from "preact";
import { useState } from "preact/hooks";
import { useLiveState } from "./api/live";
import type { Session } from "./api/types";
import { AlertBadge, AlertToasts } from "./ui/alert_toasts";
import { useAction } from "./ui/dialog";
import { HealthNotice } from "./ui/health_notice";
import { Icon, type IconName, Logo } from "./ui/icon";
import { Link } from "./ui/link";
import { Failure } from "./ui/parts";
import { setTheme, type Theme, theme } from "./ui/theme";

const NAV: readonly (readonly [string, string, IconName])[] = [
  ["/", "Fleet", "fleet"],
  ["/alerts", "Alerts", "bell"],
  ["/devices", "Devices", "device"],
  ["/profiles", "Profiles", "profile"],
  ["/models", "Models", "model"],
  ["/jobs", "Jobs", "job"],
  ["/searches", "Searches", "search"],
  ["/rollouts", "Rollouts", "rollout"],
  ["/telemetry", "Telemetry", "chart"],
  ["/settings", "Settings", "settings"],
];
const LIVE = { open: "Live", connecting: "Connecting", closed: "Not live" } as const;

interface ShellProps {
  path: string;
  session: Session;
  signOut: () => Promise<void>;
  children: ComponentChildren;
}

export function Shell({ path, session, signOut, children }: ShellProps) {
  const live = useLiveState();
  const leaving = useAction(signOut);
  return (
    <div class="shell">
      <a class="skip" href="#content">
        Skip to the content
      </a>
      <header class="side">
        <Link href="/" class="brand">
          <Logo />
          edgepress
        </Link>
        <nav aria-label="Main">
          <ul>
            {NAV.map(([href, label, icon]) => (
              <li key={href}>
                <Link href={href} aria-current={isHere(href, path) ? "page" : undefined} data-testid={`nav-${label.toLowerCase()}`}>
                  <Icon name={icon} />
                  {label}
                  {href === "/alerts" && <AlertBadge />}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        <div class="side-foot">
          <span class={`live ${live}`} data-testid="live-state" role="status">
            <span class="dot" aria-hidden="true" />
            {LIVE[live]}
          </span>
          <ThemeButton />
          <div class="who">
            <div>
              <b data-testid="signed-in-as">{session.person}</b>
              <small>{session.role}</small>
            </div>
            <button
              type="button"
              class="ghost"
              aria-label="Sign out"
              title="Sign out"
              disabled={leaving.busy}
              onClick={leaving.run}
              data-testid="sign-out"
            >
              <Icon name="out" />
            </button>
          </div>
        </div>
      </header>
      <main id="content" tabIndex={-1}>
        <HealthNotice />
        {leaving.error && <Failure error={leaving.error} />}
        {children}
      </main>
      <AlertToasts />
    </div>
  );
}

const BELONGS: Record<string, string> = {
  "/people": "/settings",
  "/trust": "/settings",
  "/audit": "/settings",
  "/groups": "/devices",
};

function isHere(href: string, path: string): boolean {
  if (BELONGS[path] === href) return true;
  if (href === "/rollouts" && path.startsWith("/push/")) return true;
  if (href === "/models" && path.startsWith("/artifacts/")) return true;
  if (href === "/alerts" && path.startsWith("/runbooks/")) return true;
  return href === "/" ? path === "/" : path === href || path.startsWith(href + "/");
}

const NEXT: Record<Theme, Theme> = { system: "light", light: "dark", dark: "system" };
const THEME_ICON = { system: "system", light: "sun", dark: "moon" } as const;
const THEME_WORD = { system: "System theme", light: "Light theme", dark: "Dark theme" } as const;

function ThemeButton() {
  const [now, set] = useState<Theme>(theme());
  return (
    <button
      type="button"
      class="ghost theme"
      data-testid="theme"
      title={`${THEME_WORD[now]}; press for ${THEME_WORD[NEXT[now]].toLowerCase()}`}
      aria-label={`${THEME_WORD[now]}; press for ${THEME_WORD[NEXT[now]].toLowerCase()}`}
      onClick={() => {
        setTheme(NEXT[now]);
        set(NEXT[now]);
      }}
    >
      <Icon name={THEME_ICON[now]} />
      <span class="theme-word">{THEME_WORD[now]}</span>
    </button>
  );
}
