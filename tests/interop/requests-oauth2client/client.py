"""A client of another maker and language: requests-oauth2client gets a DPoP-bound token over mTLS and uses it at the gate; PyJWT
verifies the token from the published keys; Authlib judges the metadata.

The libraries do all of OAuth. What is written here is the order of the steps. Each step is one line of JSON on stdout; the story in
tests/stories/interop.rs says what they must be. Where everything is, the environment says in the names of `target/demo/env`, so that it
runs against `cargo xtask demo --serve` too.
"""

import json
import os

import jwt
import requests
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from jwskate import Jwk
from requests_oauth2client import DPoPKey, OAuth2Client, PublicApp
from requests_oauth2client.exceptions import OAuth2Error


def env(name):
    value = os.environ.get(name)
    if not value:
        raise SystemExit(f"{name} is not set")
    return value


def say(step, **found):
    print(json.dumps({"step": step, **found}), flush=True)


session = requests.Session()
session.trust_env = False
session.verify = env("ISSUER_CA")
session.cert = (env("CLIENT_CERT"), env("CLIENT_KEY"))

# RFC 8414, judged by one library and read by another.
issuer = env("ISSUER_URL")
answer = session.get(get_well_known_url(issuer, external=True))
metadata = AuthorizationServerMetadata(answer.json())
metadata.validate()
say("metadata", type=answer.headers["content-type"])
with open(env("CLIENT_PROOF_KEY"), "rb") as file:
    proof_key = Jwk(load_pem_private_key(file.read(), None))
client = OAuth2Client.from_discovery_endpoint(
    url=answer.url, issuer=issuer, auth=PublicApp(env("CLIENT_ID")), session=session, dpop_bound_access_tokens=True
)
key = DPoPKey(private_key=proof_key, alg="ES256")

resource = env("GATE_URL")
details = [{"type": "git_repository", "locations": [env("GIT_URL").removesuffix(".git")], "actions": ["read"]}]


def ask(**more):
    asked = {"resource": resource, "authorization_details": json.dumps(details), **more}
    return client.client_credentials(dpop=True, dpop_key=key, **asked)


token = ask()
say("token", type=token.token_type, details=token.authorization_details, expires_in=token.expires_in)

# RFC 7517, 7519, 9068.
keys = jwt.PyJWKSet.from_dict(session.get(metadata["jwks_uri"]).json())
header = jwt.get_unverified_header(token.access_token)
verify = lambda text, audience: jwt.decode(
    text, keys[header["kid"]].key, algorithms=["ES256"], audience=audience, issuer=issuer, options={"require": ["exp", "iat", "nbf", "sub", "jti"]}
)
claims = verify(token.access_token, resource)
say("verified", typ=header["typ"], client_id=claims["client_id"], bound=claims["cnf"]["jkt"] == key.dpop_jkt)
try:
    verify(token.access_token, "https://elsewhere.example.com/")
    say("other audience", error="none")
except jwt.InvalidTokenError as error:
    say("other audience", error=type(error).__name__)

# RFC 9449 section 9: the gate asks for a nonce, and the library answers. The first of the two exchanges is not in `history`, which is for
# redirects: the proof says it.
used = session.get(env("GIT_URL") + "/info/refs?service=git-upload-pack", auth=token)
proof = jwt.decode(used.request.headers["DPoP"], options={"verify_signature": False})
say("used", status=used.status_code, type=used.headers["content-type"], nonce="nonce" in proof)

# RFC 6749 section 5.2: the library knows our refusals.
for step, more in [
    ("other resource", {"resource": "https://elsewhere.example.com/"}),
    ("two resources", {"resource": [resource, "https://elsewhere.example.com/"]}),
    ("no resource", {"resource": None}),
    ("unknown details", {"authorization_details": '[{"type":"payment"}]'}),
]:
    try:
        ask(**more)
        say(step, error="none")
    except OAuth2Error as error:
        say(step, error=getattr(error, "error", type(error).__name__), status=error.response.status_code)
