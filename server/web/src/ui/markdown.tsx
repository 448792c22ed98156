import { blocks, type Inline } from "../text/markdown";
import { Link } from "./link";

/** A text of ours (a runbook), its headings below those of the page. */
export function Markdown({ text }: { text: string }) {
  return (
    <div class="prose">
      {blocks(text).map((block, i) => {
        switch (block.is) {
          case "heading":
            return block.level <= 2 ? (
              <h2 key={i}>
                <Line of={block.of} />
              </h2>
            ) : (
              <h3 key={i}>
                <Line of={block.of} />
              </h3>
            );
          case "paragraph":
            return (
              <p key={i}>
                <Line of={block.of} />
              </p>
            );
          case "code":
            return (
              <pre key={i} class="command">
                {block.text}
              </pre>
            );
          case "list": {
            const items = block.items.map((item, j) => (
              <li key={j}>
                <Line of={item} />
              </li>
            ));
            return block.ordered ? (
              <ol key={i} class="numbered">
                {items}
              </ol>
            ) : (
              <ul key={i} class="bullets">
                {items}
              </ul>
            );
          }
        }
      })}
    </div>
  );
}

function Line({ of }: { of: readonly Inline[] }) {
  return (
    <>
      {of.map((each, i) => {
        if (each.is === "code") return <code key={i}>{each.text}</code>;
        if (each.is === "strong") return <b key={i}>{each.text}</b>;
        if (each.is === "text" || each.href === undefined) return <span key={i}>{each.text}</span>;
        if (each.href.startsWith("/")) return <Link key={i} href={each.href}>{each.text}</Link>;
        const runbook = /^([\w-]+)\.md/.exec(each.href)?.[1]; // beside it in docs/runbooks
        if (runbook) return <Link key={i} href={`/runbooks/${runbook}`}>{each.text}</Link>;
        return (
          <a key={i} href={each.href} rel="noopener noreferrer" target="_blank">
            {each.text}
          </a>
        );
      })}
    </>
  );
}
