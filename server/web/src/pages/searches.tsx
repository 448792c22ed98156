import { touches, useResource } from "../api/resource";
import type { SearchSummary } from "../api/searches";
import { ago, clock } from "../text/format";
import { searchIsOver, searchWord } from "../text/search_words";
import { Link } from "../ui/link";
import { useNow } from "../ui/now";
import { Badge, Card, Empty, Loaded, Meter, Page } from "../ui/parts";

export function SearchesPage() {
  const searches = useResource<SearchSummary[]>("/searches", { on: touches("search"), everyMs: 1500 });
  return (
    <Page title="Searches" lead="For the recipe with which a model meets a budget on a device profile.">
      <Card flush>
        <Loaded from={searches} lines={5}>
          {(all) =>
            all.length === 0 ? (
              <Empty icon="search" title="No search yet" action={<Link href="/models" class="button">Go to the models</Link>}>
                Say on a model's page what is needed, such as under 20 ms and 2 MB at one point; the search finds how.
              </Empty>
            ) : (
              <SearchTable searches={all} />
            )
          }
        </Loaded>
      </Card>
    </Page>
  );
}

export function SearchTable({ searches }: { searches: readonly SearchSummary[] }) {
  const now = useNow(5000);
  return (
    <div class="table-box" tabIndex={0} role="region" aria-label="Searches">
      <table class="stacking">
        <thead>
          <tr>
            <th scope="col">Search</th>
            <th scope="col">State</th>
            <th scope="col">Budget</th>
            <th scope="col" class="num col-2">
              Trials
            </th>
            <th scope="col" class="num col-2">
              Time
            </th>
            <th scope="col" class="num col-3">
              Asked for
            </th>
          </tr>
        </thead>
        <tbody>
          {searches.map((search) => (
            <tr key={search.id} data-testid={`search-row-${search.id}`}>
              <th scope="row">
                <Link href={`/searches/${search.id}`}>{search.model}</Link>
                <span class="sub">for {search.profile}</span>
              </th>
              <td>
                <Badge word={searchWord(search)} />
              </td>
              <td class="grow">
                {search.budget_words}
                {search.state === "running" && <Meter value={search.progress} label={`Progress of the search for ${search.profile}`} />}
                {search.state === "failed" && <span class="problem">{search.message}</span>}
                {search.reason && searchIsOver(search.state) && <span class="sub">{search.reason}</span>}
              </td>
              <td class="num col-2">{search.trials.done}</td>
              <td class="num col-2">{search.spent_s > 0 ? clock(search.spent_s * 1000) : "–"}</td>
              <td class="num col-3">{ago(search.created_at, now)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** On a model's page: its searches, where there are some. */
export function ModelSearches({ model }: { model: string }) {
  const searches = useResource<SearchSummary[]>(`/searches?model=${encodeURIComponent(model)}`, {
    on: touches("search"),
    everyMs: 2000,
  });
  const newest = (searches.value ?? []).slice(0, 5);
  if (newest.length === 0) return null;
  return (
    <Card flush title="Searches" actions={<Link href="/searches" class="button small">All searches</Link>}>
      <SearchTable searches={newest} />
    </Card>
  );
}
