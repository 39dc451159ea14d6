//! Access tokens: three-part JWTs, signed with one HMAC key that is kept with the state.
//!
//! A real server signs with a public key that anybody may check. Its clients do not check, and neither does anyone else
//! here, so that one secret key is enough.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// Makes tokens and knows its own again.
pub(crate) struct Signer {
    key: Vec<u8>,
    /// Tokens of an earlier generation are revoked.
    generation: AtomicU64,
}

/// What a token says. The names are those of a real server; `generation` is ours.
#[derive(Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub(crate) struct Claims {
    pub(crate) client_id: String,
    pub(crate) login_id: String,
    pub(crate) sub: String,
    pub(crate) username: String,
    pub(crate) scope: String,
    pub(crate) profile: String,
    pub(crate) iss: String,
    pub(crate) aud: String,
    pub(crate) jti: String,
    pub(crate) iat: i64,
    pub(crate) nbf: i64,
    pub(crate) exp: i64,
    #[serde(default)]
    pub(crate) generation: u64,
}

impl Signer {
    pub(crate) fn new(key: Vec<u8>) -> Self {
        Self {
            key,
            generation: AtomicU64::new(0),
        }
    }

    pub(crate) fn sign(&self, claims: &Claims) -> String {
        let generation = self.generation.load(Ordering::Relaxed);
        let claims = Claims {
            generation,
            ..claims.clone()
        };
        let payload = serde_json::to_vec(&claims).expect("claims are strings and numbers");
        let head = URL_SAFE_NO_PAD.encode(HEADER);
        let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(payload));
        let signature = self.mac(signed.as_bytes()).finalize().into_bytes();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The claims of a token that is ours, not expired and not revoked.
    pub(crate) fn verify(&self, token: &str, now: i64) -> Option<Claims> {
        let (signed, signature) = token.rsplit_once('.')?;
        let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
        self.mac(signed.as_bytes()).verify_slice(&signature).ok()?;
        let (_, payload) = signed.split_once('.')?;
        let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
        let valid =
            claims.exp > now && claims.generation == self.generation.load(Ordering::Relaxed);
        valid.then_some(claims)
    }

    /// Makes every token that was given out so far worthless.
    pub(crate) fn revoke_all(&self) {
        self.generation.fetch_add(1, Ordering::Relaxed);
    }

    /// Compares two secrets in a time that tells nothing about them, not even their lengths.
    pub(crate) fn same(&self, one: &str, other: &str) -> bool {
        let one = self.mac(one.as_bytes()).finalize().into_bytes();
        self.mac(other.as_bytes()).verify_slice(&one).is_ok()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(message);
        mac
    }
}

const HEADER: &str = r#"{"alg":"HS256","typ":"JWT","kid":"wardpost-cloud"}"#;

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        let text = String::new;
        Claims {
            client_id: "c1".into(),
            login_id: text(),
            sub: text(),
            username: text(),
            scope: text(),
            profile: text(),
            iss: text(),
            aud: text(),
            jti: text(),
            iat: 100,
            nbf: 100,
            exp: 200,
            generation: 0,
        }
    }

    #[test]
    fn a_token_is_valid_until_it_expires() {
        let signer = Signer::new(b"key".to_vec());
        let token = signer.sign(&claims());
        assert_eq!(token.split('.').count(), 3);
        assert_eq!(signer.verify(&token, 199), Some(claims()));
        assert_eq!(signer.verify(&token, 200), None);
    }

    #[test]
    fn a_changed_or_foreign_token_is_refused() {
        let signer = Signer::new(b"key".to_vec());
        let token = signer.sign(&claims());
        assert_eq!(Signer::new(b"other".to_vec()).verify(&token, 150), None);
        assert_eq!(signer.verify(&token.replace('.', ".x"), 150), None);
        assert_eq!(signer.verify("opaque", 150), None);
    }

    #[test]
    fn a_revoked_token_is_refused_and_the_next_one_is_not() {
        let signer = Signer::new(b"key".to_vec());
        let old = signer.sign(&claims());
        signer.revoke_all();
        assert_eq!(signer.verify(&old, 150), None);
        assert!(signer.verify(&signer.sign(&claims()), 150).is_some());
    }
}
