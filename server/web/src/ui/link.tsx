import type { ComponentChildren } from "preact";
import { navigate } from "./route";

interface Props {
  href: string;
  children: ComponentChildren;
  class?: string;
  "aria-current"?: "page" | undefined;
  "data-testid"?: string | undefined;
}

/** A real link that a click follows without reloading the page; modified clicks stay the browser's. */
export function Link({ href, ...rest }: Props) {
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(href);
  };
  return <a {...rest} href={href} onClick={follow} />;
}
