//! Pinned certificates: the other end must show exactly one of these, and own its key.
//!
//! Devices come with certificates that they signed themselves, for names that nobody gave them. Naming the certificate
//! is stronger than trusting its signer, so with pins alone nothing else in it is asked: neither name nor dates.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};
use sha2::{Digest as _, Sha256};

/// One certificate that is accepted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Pin {
    Print(Print),
    /// Every certificate in this PEM file.
    File(PathBuf),
}

/// The SHA-256 of a certificate, which every tool shows as its fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Print([u8; 32]);

impl Print {
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

/// A text that is no fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a fingerprint is sha256: and 64 hexadecimal digits, with or without colons between them")]
pub struct NoPrint;

impl FromStr for Print {
    type Err = NoPrint;

    fn from_str(text: &str) -> Result<Self, NoPrint> {
        let digits = text.strip_prefix("sha256:").ok_or(NoPrint)?;
        let digits: Vec<u8> = digits
            .bytes()
            .filter(|byte| !matches!(byte, b':' | b' '))
            .collect();
        let (pairs, []) = digits.as_chunks::<2>() else {
            return Err(NoPrint);
        };
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[high, low]| byte(*high, *low)).collect();
        let bytes = bytes.ok_or(NoPrint)?;
        bytes.try_into().map(Self).map_err(|_| NoPrint)
    }
}

fn byte(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

impl fmt::Display for Print {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The other end showed another certificate.
#[derive(Debug, thiserror::Error)]
#[error("it shows {shown}, and pinned is {}", listed(pinned))]
pub(super) struct NotPinned {
    shown: Print,
    pinned: Vec<Print>,
}

fn listed(prints: &[Print]) -> String {
    let prints: Vec<String> = prints.iter().map(ToString::to_string).collect();
    prints.join(" or ")
}

/// Accepts pinned certificates; where somebody must have signed them as well, that is asked first.
#[derive(Debug)]
pub(super) struct Pinned {
    prints: Vec<Print>,
    signed: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Pinned {
    pub(super) fn new(
        prints: Vec<Print>,
        signed: Option<Arc<WebPkiServerVerifier>>,
        provider: &Arc<CryptoProvider>,
    ) -> Self {
        Self {
            prints,
            signed,
            provider: Arc::clone(provider),
        }
    }
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Some(signed) = &self.signed {
            signed.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            )?;
        }
        let shown = Print::of(end_entity);
        if self.prints.contains(&shown) {
            return Ok(ServerCertVerified::assertion());
        }
        let other = NotPinned {
            shown,
            pinned: self.prints.clone(),
        };
        Err(CertificateError::Other(OtherError(Arc::new(other))).into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_tools_write_it() {
        let plain = format!("sha256:{}", "0a".repeat(32));
        let print: Print = plain.parse().unwrap();
        assert_eq!(print.to_string(), plain);
        let colons = format!("sha256:{}", ["0A"; 32].join(":"));
        assert_eq!(colons.parse(), Ok(print));
        for wrong in [
            "",
            "sha256:",
            "sha256:0a",
            &plain[7..],
            &plain[..70],
            "sha1:00",
        ] {
            assert_eq!(wrong.parse::<Print>(), Err(NoPrint), "{wrong}");
        }
        assert_eq!(
            format!("sha256:{}", "0g".repeat(32)).parse::<Print>(),
            Err(NoPrint)
        );
    }
}
