"""What `connect opencode` puts beside opencode's settings: a plugin that asks here, too. Events: observed, 1.18."""

from __future__ import annotations

PLUGIN = """\
// Written by `ccproxy-tui connect opencode`; `ccproxy-tui connect opencode --undo` takes it out again.
// Asks at ccproxy-tui what opencode asks in its own dialog, beside it. The first answer counts.
const url = "@URL@/hooks/opencode"

export const CcproxyPermissions = async ({ client, directory }) => {
  const asking = new Map()

  const ask = async (asked) => {
    const abort = new AbortController()
    asking.set(asked.id, abort)
    const headers = { "content-type": "application/json" }
    if (process.env.CCPROXY_TOKEN) headers.authorization = `Bearer ${process.env.CCPROXY_TOKEN}`
    try {
      const body = JSON.stringify({ ...asked, directory })
      const answer = await fetch(url, { method: "POST", headers, body, signal: abort.signal })
      const told = answer.ok ? await answer.json() : {}
      if (!told.reply) return // no opinion: the dialog stays
      await client._client.post({
        url: "/permission/{requestID}/reply",
        path: { requestID: asked.id },
        body: told,
        headers: { "content-type": "application/json" },
      })
    } catch {
      // no proxy runs, or the dialog was answered: either way it is opencode's own to go on
    } finally {
      asking.delete(asked.id)
    }
  }

  return {
    event: async ({ event }) => {
      if (event.type === "permission.asked") void ask(event.properties)
      if (event.type === "permission.replied") asking.get(event.properties.requestID)?.abort()
    },
  }
}
"""
