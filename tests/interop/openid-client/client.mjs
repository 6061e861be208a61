// A client of another maker: openid-client gets a DPoP-bound token over mTLS, uses it at the gate, and revokes it; jose verifies it.
//
// The library does all of OAuth. What is written here is the transport (node's own fetch takes no client certificate) and the order of
// the steps. Each step is one line of JSON on stdout; the story in tests/stories/interop.rs says what they must be. Where everything is, the
// environment says in the names of `target/demo/env`, so that it runs against `cargo xtask demo --serve` too.

import { readFileSync } from 'node:fs'
import { createPrivateKey, createPublicKey, webcrypto } from 'node:crypto'
import https from 'node:https'
import * as oauth from 'openid-client'
import * as jose from 'jose'

globalThis.crypto ??= webcrypto

const env = (name) => {
  const value = process.env[name]
  if (!value) throw new Error(`${name} is not set`)
  return value
}
const resource = env('GATE_URL')
const repository = env('GIT_URL').replace(/\.git$/, '')
const refs = new URL(`${env('GIT_URL')}/info/refs?service=git-upload-pack`)
const say = (step, found) => console.log(JSON.stringify({ step, ...found }))

// fetch over node:https with this client's certificate; notes every exchange.
const tls = { ca: readFileSync(env('ISSUER_CA')), cert: readFileSync(env('CLIENT_CERT')), key: readFileSync(env('CLIENT_KEY')) }
const exchanges = []
const fetchWithCertificate = (target, options = {}) =>
  new Promise((resolve, reject) => {
    const url = new URL(target)
    const headers = Object.fromEntries(new Headers(options.headers).entries())
    const body = options.body == null ? undefined : Buffer.from(String(options.body))
    if (body) headers['content-length'] = String(body.length)
    const request = https.request(url, { ...tls, method: options.method ?? 'GET', headers }, (answer) => {
      const chunks = []
      answer.on('error', reject)
      answer.on('data', (chunk) => chunks.push(chunk))
      answer.on('end', () => {
        const received = new Headers()
        for (let at = 0; at < answer.rawHeaders.length; at += 2) received.append(answer.rawHeaders[at], answer.rawHeaders[at + 1])
        exchanges.push({ method: request.method, url: url.href, status: answer.statusCode, type: received.get('content-type') })
        const empty = [101, 204, 205, 304].includes(answer.statusCode)
        resolve(new Response(empty ? null : Buffer.concat(chunks), { status: answer.statusCode, headers: received }))
      })
    })
    request.on('error', reject)
    request.end(body)
  })
const since = (start) => exchanges.slice(start).map(({ method, url, status }) => ({ method, url, status }))

// RFC 8414: the library asks for the metadata and compares `issuer`.
const config = await oauth.discovery(
  new URL(env('ISSUER_URL')),
  env('CLIENT_ID'),
  { use_mtls_endpoint_aliases: true },
  oauth.TlsClientAuth(),
  { algorithm: 'oauth2', [oauth.customFetch]: fetchWithCertificate },
)
const server = config.serverMetadata()
say('discovered', { issuer: server.issuer, alias: server.mtls_endpoint_aliases.token_endpoint, exchanges: since(0) })

const pem = readFileSync(env('CLIENT_PROOF_KEY'))
const curve = { name: 'ECDSA', namedCurve: 'P-256' }
const keys = {
  privateKey: await crypto.subtle.importKey('pkcs8', createPrivateKey(pem).export({ type: 'pkcs8', format: 'der' }), curve, false, ['sign']),
  publicKey: await crypto.subtle.importKey('jwk', createPublicKey(pem).export({ format: 'jwk' }), curve, true, ['verify']),
}
const DPoP = oauth.getDPoPHandle(config, keys)

// RFC 6749, 8705, 8707, 9396, 9449.
const details = [{ type: 'git_repository', locations: [repository], actions: ['read'] }]
const ask = (more) =>
  oauth.clientCredentialsGrant(config, { resource, authorization_details: JSON.stringify(details), ...more }, { DPoP })
let start = exchanges.length
const token = await ask({})
say('token', {
  type: token.token_type,
  expires_in: token.expires_in,
  details: token.authorization_details,
  exchanges: since(start),
})

// RFC 7517, 7519, 9068: another library verifies the token from the published keys.
const keySet = jose.createRemoteJWKSet(new URL(server.jwks_uri), { [jose.customFetch]: fetchWithCertificate })
const verified = await jose.jwtVerify(token.access_token, keySet, {
  issuer: server.issuer,
  audience: resource,
  typ: 'at+jwt',
  algorithms: ['ES256'],
  requiredClaims: ['iss', 'exp', 'aud', 'sub', 'client_id', 'iat', 'jti', 'cnf'],
})
const thumbprint = await jose.calculateJwkThumbprint(await jose.exportJWK(keys.publicKey))
say('verified', {
  client_id: verified.payload.client_id,
  sub: verified.payload.sub,
  bound: verified.payload.cnf.jkt === thumbprint && (await jose.calculateJwkThumbprint(verified.payload.cnf.jwk)) === thumbprint,
})
const [head, body, signature] = token.access_token.split('.')
const other = body.slice(0, -4) + (body.endsWith('AAAA') ? 'BBBB' : 'AAAA')
const forged = await jose.jwtVerify(`${head}.${other}.${signature}`, keySet).then(() => 'taken', (error) => error.code)
say('forged', { code: forged })

// RFC 9449 section 9: the gate asks for a nonce, and the library answers.
const use = () => oauth.fetchProtectedResource(config, token.access_token, refs, 'GET', null, undefined, { DPoP })
start = exchanges.length
const answer = await use()
say('used', { status: answer.status, type: answer.headers.get('content-type'), begins: (await answer.text()).slice(0, 26), exchanges: since(start) })

// RFC 6749 section 5.2: the library reads our refusals.
const refusal = async (asked) => {
  try {
    await asked()
    return { error: 'none' }
  } catch (error) {
    const challenges = Array.isArray(error.cause) ? error.cause.map(({ scheme, parameters }) => ({ scheme, error: parameters.error })) : undefined
    return { kind: error.constructor.name, error: error.error, status: error.status, challenges, message: error.message }
  }
}
say('other resource', await refusal(() => ask({ resource: 'https://elsewhere.example.com/' })))
say('too much', await refusal(() => ask({ authorization_details: JSON.stringify([{ ...details[0], actions: ['push'], refs: ['refs/heads/**'] }]) })))
say('unknown details', await refusal(() => ask({ authorization_details: '[{"type":"payment"}]' })))
say('introspection', await refusal(() => oauth.tokenIntrospection(config, token.access_token)))

// RFC 7009; and then the gate hears of it.
start = exchanges.length
await oauth.tokenRevocation(config, token.access_token)
say('revoked', { exchanges: since(start) })
for (let left = 600; ; left -= 1) {
  const answer = await refusal(use)
  if (answer.error !== 'none' || left === 0) {
    say('after revocation', answer)
    break
  }
  await new Promise((later) => setTimeout(later, 100))
}
