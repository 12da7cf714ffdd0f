//! Tokens of issuers: their keys are fetched from the issuer and kept for a while; signatures are verified by `ring`.
//!
//! RFC 7519 (tokens), 7515 (signatures), 7517 (keys); OpenID Connect Discovery for where the keys are.

use crate::fetch;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use dayfly_types::Timestamp;
use http::Uri;
use ring::signature::{
    self, ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use thiserror::Error;

/// Longest token.
const TOKEN_BYTES_MAX: usize = 16 << 10;
/// Keys of an issuer that are looked at.
const KEYS_MAX: usize = 100;
/// Time to fetch an issuer's keys.
const FETCH_TIME: Duration = Duration::from_secs(5);
/// How long keys hold.
const KEPT: Duration = Duration::from_secs(3600);
/// How long they hold at least: also before a token with an unknown key, or an issuer that failed, has them fetched anew.
const KEPT_AT_LEAST: Duration = Duration::from_secs(10);
/// Issuers whose keys are kept; when there are more, all go.
const ISSUERS_MAX: usize = 1000;

/// Why a token is not taken.
#[derive(Debug, Error)]
pub enum Error {
    /// It is no token, or not one that we can verify.
    #[error("the token {0}")]
    Token(&'static str),
    /// Its issuer cannot be asked.
    #[error("the issuer's keys cannot be fetched: {0}")]
    Keys(String),
}

impl Error {
    /// Whether the token is to blame.
    pub fn is_of_token(&self) -> bool {
        matches!(self, Self::Token(_))
    }
}

/// Keys of issuers. Cheap to clone.
#[derive(Clone, Default)]
pub struct Keys(Arc<Mutex<HashMap<String, Issuer>>>);

/// The keys of one issuer; whoever fetches them holds the lock, so that they are fetched once.
type Issuer = Arc<tokio::sync::Mutex<Option<Fetched>>>;

struct Fetched {
    at: Timestamp,
    keys: Result<Arc<Vec<Key>>, String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Key {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    crit: Option<Value>,
}

/// A token taken apart.
struct Token<'a> {
    header: Header,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl Keys {
    /// The claims of a token that `issuer` made for one of `audience` and that holds now.
    pub async fn verify(
        &self,
        token: &str,
        issuer: &str,
        audience: &[String],
        now: Timestamp,
    ) -> Result<Map<String, Value>, Error> {
        let token = Token::read(token)?;
        // Cheap questions first: nothing is fetched for a token that would not be taken anyway.
        check_claims(&token.claims, issuer, audience, now)?;
        let keys = self.keys(issuer, token.header.kid.as_deref(), now).await?;
        match keys.iter().any(|key| key.verifies(&token)) {
            true => Ok(token.claims),
            false => Err(Error::Token("has no signature of its issuer")),
        }
    }

    async fn keys(&self, issuer: &str, kid: Option<&str>, now: Timestamp) -> Result<Arc<Vec<Key>>, Error> {
        let kept = {
            let mut issuers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if issuers.len() >= ISSUERS_MAX && !issuers.contains_key(issuer) {
                issuers.clear();
            }
            issuers.entry(issuer.to_owned()).or_default().clone()
        };
        let mut kept = kept.lock().await;
        let holds = kept.as_ref().is_some_and(|fetched| {
            let known = |keys: &Arc<Vec<Key>>| kid.is_none() || keys.iter().any(|key| key.kid.as_deref() == kid);
            let wanted = fetched.keys.as_ref().is_ok_and(known);
            now < fetched.at + if wanted { KEPT } else { KEPT_AT_LEAST }
        });
        if !holds {
            let keys = match tokio::time::timeout(FETCH_TIME, fetch_keys(issuer)).await {
                Ok(keys) => keys.map(Arc::new),
                Err(_) => Err(format!("{issuer} took longer than {} s", FETCH_TIME.as_secs())),
            };
            *kept = Some(Fetched { at: now, keys });
        }
        match kept.as_ref().map(|fetched| &fetched.keys) {
            Some(Ok(keys)) => Ok(keys.clone()),
            Some(Err(error)) => Err(Error::Keys(error.clone())),
            None => Err(Error::Keys("nothing was fetched".to_owned())),
        }
    }
}

/// Whether keys can be asked for at this issuer: over TLS, or on this machine.
pub fn check_issuer(issuer: &str) -> Result<(), &'static str> {
    let uri: Uri = issuer.parse().map_err(|_| "must be a URL")?;
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match (uri.scheme_str(), uri.host(), uri.query()) {
        (_, None, _) | (_, _, Some(_)) => Err("must be a URL with a host and without a query"),
        (Some("https"), ..) => Ok(()),
        (Some("http"), ..) if local => Ok(()),
        _ => Err("must begin with https:// (http:// is for localhost)"),
    }
}

async fn fetch_keys(issuer: &str) -> Result<Vec<Key>, String> {
    #[derive(Deserialize)]
    struct Configuration {
        jwks_uri: String,
    }
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<Value>,
    }
    let base = issuer.trim_end_matches('/');
    check_issuer(issuer)?;
    let configuration = fetch::get(&format!("{base}/.well-known/openid-configuration")).await;
    let place = match configuration {
        Ok(text) => {
            let read = serde_json::from_slice::<Configuration>(&text);
            read.map_err(|error| format!("its openid-configuration: {error}"))?.jwks_uri
        }
        Err(fetch::Error::Status(404)) => format!("{base}/.well-known/jwks.json"),
        Err(error) => return Err(error.to_string()),
    };
    if issuer.starts_with("https:") && !place.starts_with("https:") {
        return Err("its jwks_uri is not encrypted".to_owned());
    }
    check_issuer(place.split('?').next().unwrap_or_default())?;
    let text = fetch::get(&place).await.map_err(|error| error.to_string())?;
    let set: Set = serde_json::from_slice(&text).map_err(|error| format!("its keys: {error}"))?;
    // A key of a kind that we do not know is none.
    Ok(set.keys.into_iter().take(KEYS_MAX).filter_map(|key| serde_json::from_value(key).ok()).collect())
}

impl<'a> Token<'a> {
    fn read(token: &'a str) -> Result<Self, Error> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(Error::Token("is too long"));
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(Error::Token("has no three parts"))?;
        let (header, claims) = signed.split_once('.').ok_or(Error::Token("has no three parts"))?;
        let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Error::Token("is not base64"));
        let header: Header =
            serde_json::from_slice(&bytes(header)?).map_err(|_| Error::Token("has no header that we know"))?;
        if header.crit.is_some() {
            return Err(Error::Token("has critical extensions, of which we know none"));
        }
        let claims = serde_json::from_slice(&bytes(claims)?).map_err(|_| Error::Token("has no claims"))?;
        Ok(Self { header, claims, signed, signature: bytes(signature)? })
    }
}

impl Key {
    fn verifies(&self, token: &Token<'_>) -> bool {
        let Header { alg, kid, .. } = &token.header;
        let other = kid.is_some() && *kid != self.kid;
        let unfit =
            self.alg.as_ref().is_some_and(|own| own != alg) || self.purpose.as_deref().is_some_and(|own| own != "sig");
        !other && !unfit && self.holds(token).is_some()
    }

    /// The algorithm is the key's kind's, not only what the token says: a public key is never taken for a shared secret.
    fn holds(&self, token: &Token<'_>) -> Option<()> {
        let bytes = |text: &Option<String>| URL_SAFE_NO_PAD.decode(text.as_deref()?).ok();
        let (message, signature) = (token.signed.as_bytes(), &token.signature);
        match (self.kty.as_str(), token.header.alg.as_str(), self.crv.as_deref()) {
            ("RSA", algorithm, _) => {
                let parameters: &RsaParameters = match algorithm {
                    "RS256" => &RSA_PKCS1_2048_8192_SHA256,
                    "RS384" => &RSA_PKCS1_2048_8192_SHA384,
                    "RS512" => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return None,
                };
                RsaPublicKeyComponents { n: bytes(&self.n)?, e: bytes(&self.e)? }
                    .verify(parameters, message, signature)
                    .ok()
            }
            ("EC", algorithm, Some(curve)) => {
                let algorithm: &dyn signature::VerificationAlgorithm = match (algorithm, curve) {
                    ("ES256", "P-256") => &ECDSA_P256_SHA256_FIXED,
                    ("ES384", "P-384") => &ECDSA_P384_SHA384_FIXED,
                    _ => return None,
                };
                let point = [vec![4], bytes(&self.x)?, bytes(&self.y)?].concat();
                UnparsedPublicKey::new(algorithm, point).verify(message, signature).ok()
            }
            _ => None,
        }
    }
}

fn check_claims(claims: &Map<String, Value>, issuer: &str, audience: &[String], now: Timestamp) -> Result<(), Error> {
    if claims.get("iss").and_then(Value::as_str) != Some(issuer) {
        return Err(Error::Token("is of another issuer"));
    }
    let time = |name: &'static str| match claims.get(name) {
        None => Ok(None),
        Some(value) => value.as_f64().map(Some).ok_or(Error::Token("has a time that is no number")),
    };
    // Seconds: precise enough in a float for some million years.
    let now = now.as_second() as f64;
    let (expires, not_before, issued) = (time("exp")?, time("nbf")?, time("iat")?);
    if expires.is_none_or(|at| at <= now) {
        return Err(Error::Token("has run out, or does not say when it does"));
    }
    if not_before.is_some_and(|at| at > now) || issued.is_some_and(|at| at > now) {
        return Err(Error::Token("does not hold yet"));
    }
    let meant = |value: &Value| value.as_str().is_some_and(|one| audience.iter().any(|known| known == one));
    let for_us = match (claims.get("aud"), claims.get("client_id")) {
        (Some(Value::Array(list)), _) => list.iter().any(meant),
        (Some(one), _) => meant(one),
        (None, Some(client)) => meant(client),
        (None, None) => false,
    };
    if for_us { Ok(()) } else { Err(Error::Token("is for somebody else")) }
}
