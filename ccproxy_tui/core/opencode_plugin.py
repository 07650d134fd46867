"""What `connect opencode` puts beside opencode's settings: a plugin that asks here, too. Events: observed, 1.18.

It takes a proven answer alone (`core.control.hook_proof` says how it is made).
"""

from __future__ import annotations

PLUGIN = """\
// Written by `ccproxy-tui connect opencode`; `ccproxy-tui connect opencode --undo` takes it out again.
// Asks at ccproxy-tui what opencode asks in its own dialog, beside it. The first answer counts.
import { createHash, createHmac, randomBytes, timingSafeEqual } from "node:crypto"
import { readFileSync } from "node:fs"

const url = @URL@
const path = "/hooks/opencode"
const keyFile = @KEY@
const tokenFile = @TOKEN@

const digest = (text) => createHash("sha256").update(text).digest("hex")

// Whether the answer is the proxy's, and not of a program that listens on its port.
const isProven = (nonce, body, text, given) => {
  const said = ["ccproxy hook", nonce, path, digest(body), digest(text)].join("\\n")
  const expected = createHmac("sha256", readFileSync(keyFile)).update(said).digest("hex")
  return given?.length === expected.length && timingSafeEqual(Buffer.from(given), Buffer.from(expected))
}

export const CcproxyPermissions = async ({ client, directory }) => {
  const asking = new Map()

  const ask = async (asked) => {
    const abort = new AbortController()
    asking.set(asked.id, abort)
    const nonce = randomBytes(16).toString("hex")
    const headers = { "content-type": "application/json", "x-ccproxy-nonce": nonce }
    try {
      const token = tokenFile ? readFileSync(tokenFile, "utf8").trim() : process.env.CCPROXY_TOKEN
      if (token) headers.authorization = `Bearer ${token}`
      const body = JSON.stringify({ ...asked, directory })
      const answer = await fetch(url + path, { method: "POST", headers, body, signal: abort.signal })
      const text = await answer.text()
      if (!answer.ok || !isProven(nonce, body, text, answer.headers.get("x-ccproxy-proof"))) return
      const told = JSON.parse(text)
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
