import { expect, test } from "vitest";
import type { Channel } from "../api/alerts";
import { addresses, channelBody, channelProblem, channelWords, formOf, NEW_CHANNEL } from "./channel_form";

const webhook: Channel = {
  name: "ops",
  kind: "webhook",
  enabled: true,
  least_severity: "warning",
  options: { url: "https://a.example/x", template: "slack", allow_private: false },
  has_secret: true,
  waiting: 0,
  sent_at: null,
  failed_at: null,
  failure: "",
  updated_at: 0,
  actor: null,
};

test("a kept channel goes back as it came, its secret untouched", () => {
  const { name, ...rest } = webhook;
  expect(channelBody(formOf(webhook))).toMatchObject({ kind: "webhook", options: rest.options, secret: null });
  expect(channelBody({ ...formOf(webhook), secret: "new" })["secret"]).toBe("new");
});

test("each kind sends only its own options", () => {
  const mail = { ...NEW_CHANNEL, name: "mail", kind: "email", to: "a@b.example; c@d.example" } as const;
  expect(channelBody(mail)["options"]).toEqual({
    to: ["a@b.example", "c@d.example"],
    from: "",
    host: "",
    port: 587,
    security: "starttls",
    username: "",
  });
  expect(Object.keys(channelBody({ ...mail, kind: "mqtt", port: "" })["options"] as object)).toEqual(["host", "port", "username", "tls", "prefix"]);
});

test("what is missing is said", () => {
  expect(channelProblem({ ...NEW_CHANNEL, name: "Ops" })).toContain("name");
  expect(channelProblem({ ...NEW_CHANNEL, name: "ops", url: "ftp://x" })).toContain("address");
  expect(channelProblem({ ...NEW_CHANNEL, name: "ops", kind: "email", to: "nobody" })).toContain("at least one");
  expect(channelProblem(formOf(webhook))).toBeNull();
});

test("addresses may be parted by commas, semicolons or lines", () => {
  expect(addresses("a@b, c@d;e@f\ng@h ,")).toEqual(["a@b", "c@d", "e@f", "g@h"]);
});

test("where it leads is said in a few words", () => {
  expect(channelWords(webhook)).toBe("https://a.example/x (slack)");
  expect(channelWords({ ...webhook, kind: "mqtt", options: {} })).toBe("ep/1/alerts/… on the server's own broker");
});
