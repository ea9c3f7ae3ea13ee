// The routes of administration and operations.

import { getJson, postJson, send } from "./api.js";

const segment = encodeURIComponent;
const remove = (path) => send(path, { method: "DELETE" });
const made = async (path, body, method = "POST") => (await postJson(path, body, { method })).json();

export const listKeys = async () => (await getJson("keys")).keys;
export const makeKey = (key) => made("keys", key);
export const rotateKey = (id, hours) => made(`keys/${segment(id)}/rotate`, { grace_hours: hours });
export const revokeKey = (id) => remove(`keys/${segment(id)}`);

export const listMembers = async () => (await getJson("members")).members;
export const putMember = (member) => made("members", member, "PUT");
export const removeMember = (id) => remove(`members/${segment(id)}`);
export const listUsers = async () => (await getJson("users")).users;
export const disableUser = (id, disabled) => made(`users/${segment(id)}`, { disabled }, "PATCH");

export const listHooks = async () => (await getJson("webhooks")).webhooks;
export const makeHook = (hook) => made("webhooks", hook);
export const changeHook = (id, change) => made(`webhooks/${segment(id)}`, change, "PATCH");
export const rotateHook = (id) => made(`webhooks/${segment(id)}/rotate`, {});
export const deleteHook = (id) => remove(`webhooks/${segment(id)}`);
export const listDeliveries = async (id) => (await getJson(`webhooks/${segment(id)}/deliveries?limit=10`)).deliveries;
export const sendAgain = (id, delivery) => made(`webhooks/${segment(id)}/deliveries/${segment(delivery)}/send`, {});

export const listFeedback = (cursor) => getJson(`feedback?limit=50${cursor ? `&cursor=${segment(cursor)}` : ""}`);
export const operations = () => getJson("operations", { cache: "no-store" });
