// A channel as its form holds it.

import type { Channel, ChannelKind, Severity } from "../api/alerts";

export interface ChannelForm {
  name: string;
  kind: ChannelKind;
  enabled: boolean;
  least_severity: Severity;
  secret: string; // empty: the kept one stays
  url: string;
  template: "edgepress" | "slack" | "teams";
  allow_private: boolean;
  to: string;
  from: string;
  host: string;
  port: string;
  security: "starttls" | "tls" | "none";
  username: string;
  tls: boolean;
  prefix: string;
}

export const NEW_CHANNEL: ChannelForm = {
  name: "",
  kind: "webhook",
  enabled: true,
  least_severity: "warning",
  secret: "",
  url: "",
  template: "edgepress",
  allow_private: false,
  to: "",
  from: "",
  host: "",
  port: "587",
  security: "starttls",
  username: "",
  tls: false,
  prefix: "ep/1/alerts",
};

const text = (value: unknown, otherwise = "") => (typeof value === "string" ? value : typeof value === "number" ? String(value) : otherwise);

export function formOf(channel: Channel): ChannelForm {
  const { options } = channel;
  return {
    ...NEW_CHANNEL,
    name: channel.name,
    kind: channel.kind,
    enabled: channel.enabled,
    least_severity: channel.least_severity,
    url: text(options["url"]),
    template: text(options["template"], "edgepress") as ChannelForm["template"],
    allow_private: options["allow_private"] === true,
    to: Array.isArray(options["to"]) ? options["to"].join(", ") : "",
    from: text(options["from"]),
    host: text(options["host"]),
    port: text(options["port"], channel.kind === "mqtt" ? "1883" : "587"),
    security: text(options["security"], "starttls") as ChannelForm["security"],
    username: text(options["username"]),
    tls: options["tls"] === true,
    prefix: text(options["prefix"], "ep/1/alerts"),
  };
}

export function channelProblem(form: ChannelForm): string | null {
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(form.name)) return "Its name takes a-z, 0-9 and dashes.";
  if (form.kind === "webhook" && !/^https?:\/\/\S+$/.test(form.url.trim())) return "Give the address that is called.";
  if (form.kind === "email" && addresses(form.to).length === 0) return "Give at least one address.";
  if (form.kind !== "webhook" && form.host.trim() !== "" && !/^\d{1,5}$/.test(form.port.trim())) return "The port is a number.";
  return null;
}

export const addresses = (list: string): string[] => list.split(/[\s,;]+/).filter((each) => each.includes("@"));

function options(form: ChannelForm): Record<string, unknown> {
  switch (form.kind) {
    case "webhook":
      return { url: form.url.trim(), template: form.template, allow_private: form.allow_private };
    case "email":
      return {
        to: addresses(form.to),
        from: form.from.trim(),
        host: form.host.trim(),
        port: Number(form.port) || 587,
        security: form.security,
        username: form.username.trim(),
      };
    case "mqtt":
      return { host: form.host.trim(), port: Number(form.port) || 1883, username: form.username.trim(), tls: form.tls, prefix: form.prefix.trim() };
  }
}

/** What PUT takes. A secret is sent only where one was typed: it is never shown again. */
export function channelBody(form: ChannelForm): Record<string, unknown> {
  return {
    kind: form.kind,
    enabled: form.enabled,
    least_severity: form.least_severity,
    options: options(form),
    secret: form.secret === "" ? null : form.secret,
  };
}

/** Where it leads, in a few words. */
export function channelWords(channel: Channel): string {
  const form = formOf(channel);
  switch (channel.kind) {
    case "webhook":
      return form.template === "edgepress" ? form.url : `${form.url} (${form.template})`;
    case "email":
      return form.to;
    case "mqtt":
      return `${form.prefix}/… on ${form.host || "the server's own broker"}`;
  }
}
