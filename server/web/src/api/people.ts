// People, their tokens and the audit log, as /api/v1 answers them.

import type { Role } from "./types";

export interface Person {
  name: string;
  role: Role;
  created_at: number;
  signed_in_at: number | null;
  tokens: number; // that work now
}
export interface NewPassword extends Person {
  password: string | null; // where the server made it; shown only now
}

export interface AuditEntry {
  number: number;
  at: number;
  action: string;
  subject: string;
  actor: string | null;
  source: string;
  data: Record<string, unknown>;
  hash: string;
}
export interface AuditHead {
  number: number;
  hash: string;
}
export interface AuditPage {
  entries: AuditEntry[]; // newest first
  head: AuditHead;
  actions: string[];
}
export interface AuditVerdict {
  holds: boolean;
  rows: number;
  head: AuditHead;
  broken: number | null;
  reason: string | null;
}
