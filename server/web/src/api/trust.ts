// The keys that devices trust, as /api/v1 answers them.

export type RoleOfKeys = "root" | "release" | "director";
export interface KeyOfRole {
  keyid: string;
  here: boolean; // its private half is on the server
}
export interface KeysRole {
  role: RoleOfKeys;
  threshold: number;
  keys: KeyOfRole[];
}
export interface Keys {
  root_version: number;
  root_expires_at: number;
  pending_root: number | null; // version of a root that waits for signatures
  roles: KeysRole[];
  warnings: string[];
}
