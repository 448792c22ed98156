import { Link } from "../ui/link";
import { Empty, Page } from "../ui/parts";

export function NotFound() {
  return (
    <Page title="Not found">
      <Empty icon="alert" title="There is no such page" action={<Link href="/" class="button">Go to the fleet</Link>}>
        The address may be mistyped, or what it named may be gone.
      </Empty>
    </Page>
  );
}
