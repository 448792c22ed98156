// Codes of many devices as a CSV file, which `edgepress-agent enroll` on each device reads a line of.

export interface MadeCode {
  device: string;
  code: string;
  expires_at: number;
  enrol_url: string;
}

const quoted = (text: string) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

export function codesCsv(codes: readonly MadeCode[]): string {
  const lines = codes.map(({ device, code, enrol_url, expires_at }) =>
    [device, code, enrol_url, new Date(expires_at).toISOString()].map(quoted).join(","),
  );
  return ["name,code,enrol_url,expires_at", ...lines].join("\n") + "\n";
}
