// The little of Markdown that runbooks use: headings, paragraphs, lists, code; in a line code, strong text and links.
// It makes a tree, no HTML: nothing a text says can become an element of its own.

export interface Inline {
  is: "text" | "code" | "strong" | "link";
  text: string;
  href?: string; // of a link
}
export type Block =
  | { is: "heading"; level: 1 | 2 | 3; of: Inline[] }
  | { is: "paragraph"; of: Inline[] }
  | { is: "list"; ordered: boolean; items: Inline[][] }
  | { is: "code"; text: string };

const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\(([^)\s]+)\)/g;

export function inline(text: string): Inline[] {
  const out: Inline[] = [];
  let last = 0;
  for (const found of text.matchAll(INLINE)) {
    if (found.index > last) out.push({ is: "text", text: text.slice(last, found.index) });
    const [whole, code, strong, label, href] = found;
    if (code !== undefined) out.push({ is: "code", text: code });
    else if (strong !== undefined) out.push({ is: "strong", text: strong });
    else if (label !== undefined && href !== undefined && /^(https?:\/\/|\/(?!\/)|#|[\w-]+\.md)/.test(href)) out.push({ is: "link", text: label, href });
    else out.push({ is: "text", text: whole });
    last = found.index + whole.length;
  }
  if (last < text.length) out.push({ is: "text", text: text.slice(last) });
  return out;
}

const ITEM = /^\s*(?:[-*]|(\d+)[.)])\s+(.*)$/;

export function blocks(text: string): Block[] {
  const out: Block[] = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  for (let i = 0; i < lines.length; ) {
    const line = lines[i]!;
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    if (line.trim() === "") i++;
    else if (line.startsWith("```")) {
      const end = lines.indexOf("```", i + 1);
      const stop = end < 0 ? lines.length : end;
      out.push({ is: "code", text: lines.slice(i + 1, stop).join("\n") });
      i = stop + 1;
    } else if (/^ {4}\S/.test(line)) {
      const start = i;
      while (i < lines.length && (lines[i]!.startsWith("    ") || (lines[i] === "" && lines[i + 1]?.startsWith("    ")))) i++;
      out.push({ is: "code", text: lines.slice(start, i).map((each) => each.slice(4)).join("\n") });
    } else if (heading) {
      out.push({ is: "heading", level: Math.min(3, heading[1]!.length) as 1 | 2 | 3, of: inline(heading[2]!) });
      i++;
    } else if (ITEM.test(line)) {
      const ordered = ITEM.exec(line)![1] !== undefined;
      const items: string[] = [];
      for (; i < lines.length && lines[i]!.trim() !== ""; i++) {
        const item = ITEM.exec(lines[i]!);
        if (item) items.push(item[2]!);
        else items[items.length - 1] += ` ${lines[i]!.trim()}`; // an item goes on
      }
      out.push({ is: "list", ordered, items: items.map(inline) });
    } else {
      const start = i;
      while (i < lines.length && lines[i]!.trim() !== "" && !/^(#{1,6}\s|```)/.test(lines[i]!) && !(i > start && ITEM.test(lines[i]!))) i++;
      out.push({ is: "paragraph", of: inline(lines.slice(start, i).join(" ")) });
    }
  }
  return out;
}
