import type { Runbook } from "../api/alerts";
import { useResource } from "../api/resource";
import { Link } from "../ui/link";
import { Markdown } from "../ui/markdown";
import { Card, Loaded, Page } from "../ui/parts";

/** What an alert means, how to look, what to do. */
export function RunbookPage({ name }: { name: string }) {
  const runbook = useResource<Runbook>(`/runbooks/${encodeURIComponent(name)}`);
  return (
    <Page title={runbook.value?.title ?? "Runbook"} above={<Link href="/alerts/rules">Rules</Link>}>
      <Loaded from={runbook} lines={8}>
        {(value) => (
          <Card testid="runbook">
            <Markdown text={withoutTitle(value.text)} />
          </Card>
        )}
      </Loaded>
    </Page>
  );
}

/** The page has the title already. */
export const withoutTitle = (text: string): string => text.replace(/^\s*#\s[^\n]*\n/, "");
