// Names the server will take; checked here too, so that a slip is told while it is typed.

const DEVICE = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** Why `name` is no device name, or null. The rule is the wire protocol's: a DNS label. */
export function deviceNameProblem(name: string): string | null {
  if (name === "") return "Give the device a name.";
  if (name.length > 63) return "At most 63 characters.";
  if (!/^[a-z0-9-]*$/.test(name)) return "Only a-z, 0-9 and '-': the name is part of topics and file names.";
  return DEVICE.test(name) ? null : "No '-' at either end.";
}

/** A model's name from its file's: "SqueezeNet 1.1 (v2).onnx" -> "squeezenet-1.1-v2". */
export function modelNameOf(file: string): string {
  return file
    .replace(/\.[a-z0-9]{1,5}$/i, "")
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[-._]+|[-._]+$/g, "")
    .slice(0, 63);
}

/** "site=lab, rack=3" -> {site: "lab", rack: "3"}; a sentence where it is not that. */
export function parseLabels(text: string): Record<string, string> | string {
  const labels: Record<string, string> = {};
  for (const part of text.split(/[,\n]/)) {
    if (part.trim() === "") continue;
    const [key, ...value] = part.split("=");
    if (value.length === 0 || !/^[A-Za-z0-9._-]{1,63}$/.test(key!.trim())) {
      return `"${part.trim()}" is no label: write key=value, e.g. site=lab.`;
    }
    labels[key!.trim()] = value.join("=").trim();
  }
  return labels;
}

export const labelsText = (labels: Record<string, string>) =>
  Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(", ");
