//! What a failure of TLS means in words, and what to do about it. The library's own words follow them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::{AlertDescription, CertificateError, OtherError};

use super::pin::NotPinned;

/// Who is at the other end, as far as the advice differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Whom {
    Cloud,
    /// The proxy on the way to the cloud.
    Proxy,
    /// A device, by its name.
    Device(String),
}

impl Whom {
    /// What is offered to be spoken inside of TLS. Whoever ends TLS on the way must not talk us into HTTP/2.
    pub(super) fn protocols(&self) -> Vec<Vec<u8>> {
        match self {
            Self::Cloud | Self::Proxy => vec![b"http/1.1".to_vec()],
            Self::Device(_) => Vec::new(),
        }
    }

    /// The end of a sentence about an other end that says nothing.
    pub(super) fn when_silent(&self) -> &'static str {
        match self {
            Self::Cloud | Self::Proxy => "",
            Self::Device(_) => "; does it speak TLS at this port? Plain MLLP is mllp://",
        }
    }

    fn speaks_no_tls(&self) -> &'static str {
        match self {
            Self::Cloud => {
                "what answers there does not speak TLS; is the port right, or is a captive portal in the way?"
            }
            Self::Proxy => {
                "what answers there does not speak TLS; a proxy that is spoken to in clear is http://"
            }
            Self::Device(_) => {
                "what answers there does not speak TLS; if it speaks plain MLLP, its url is mllp://"
            }
        }
    }

    fn unknown_issuer(&self) -> &'static str {
        match self {
            Self::Cloud | Self::Proxy => {
                "its certificate is signed by nobody we trust; name the authority of the site's cloud or \
                 inspecting proxy in [cloud] trust, or look for a captive portal"
            }
            Self::Device(_) => {
                "its certificate is signed by nobody we trust; name its authority in [tls] trust, or the \
                 certificate itself in [tls] pin"
            }
        }
    }

    fn other_name(&self) -> &'static str {
        match self {
            Self::Cloud => "its certificate is for another name; is [cloud] url right?",
            Self::Proxy => "its certificate is for another name; is [cloud] proxy right?",
            Self::Device(_) => {
                "its certificate is for another name; write a name that is in it as [tls] server_name"
            }
        }
    }

    fn demands_certificate(&self) -> &'static str {
        match self {
            Self::Cloud => {
                "it demands a client certificate, and we have none; set client_certificate in [cloud]"
            }
            Self::Proxy => "it demands a client certificate, which no proxy gets from us",
            Self::Device(_) => {
                "it demands a client certificate, and we have none; set client_certificate in [tls]"
            }
        }
    }
}

/// What is known of one handshake besides its error.
#[derive(Clone, Debug)]
pub struct Handshake {
    pub(super) whom: Whom,
    /// The other end asked for our certificate.
    pub(super) asked: Arc<AtomicBool>,
    pub(super) has_identity: bool,
}

impl Handshake {
    pub(super) fn was_asked(&self) -> bool {
        self.asked.load(Ordering::Relaxed)
    }

    /// What an operator can do about a handshake that failed; the cause itself follows it.
    pub(super) fn fault(&self, error: &io::Error) -> String {
        match rustls_error(error) {
            Some(rustls::Error::InvalidCertificate(fault)) => self.certificate_fault(fault),
            Some(rustls::Error::InvalidMessage(_)) => self.whom.speaks_no_tls().into(),
            Some(rustls::Error::AlertReceived(alert)) => self.alert(*alert).into(),
            Some(rustls::Error::PeerIncompatible(_)) => NOTHING_IN_COMMON.into(),
            Some(_) => "the handshake failed".into(),
            None if self.was_asked() && self.has_identity => CLOSED_WHEN_SHOWN.into(),
            None if self.was_asked() => self.whom.demands_certificate().into(),
            None => match &self.whom {
                Whom::Cloud | Whom::Proxy => "the connection broke in the handshake".into(),
                Whom::Device(_) => {
                    "the connection broke in the handshake; does it speak TLS at this port? Plain MLLP is mllp://"
                        .into()
                }
            },
        }
    }

    /// What the end of an open connection means, if it means more than its own words.
    pub(super) fn breakage(&self, error: &io::Error) -> Option<&'static str> {
        match rustls_error(error) {
            Some(rustls::Error::AlertReceived(alert)) => Some(self.alert(*alert)),
            Some(_) => Some("what came is not TLS as it should be"),
            None if error.kind() == io::ErrorKind::UnexpectedEof => {
                Some("the connection was cut off without the end of TLS")
            }
            None => None,
        }
    }

    fn alert(&self, alert: AlertDescription) -> &'static str {
        match alert {
            AlertDescription::CertificateRequired => self.whom.demands_certificate(),
            AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity
            | AlertDescription::InappropriateFallback => NOTHING_IN_COMMON,
            AlertDescription::UnrecognisedName => "it knows no server of this name",
            _ if self.was_asked() && !self.has_identity => self.whom.demands_certificate(),
            _ if self.was_asked() && is_about_certificates(alert) => {
                "it refused our client certificate; is it signed by an authority that is trusted there, and not over?"
            }
            AlertDescription::HandshakeFailure => NOTHING_IN_COMMON,
            _ => "the server turned the handshake down",
        }
    }

    fn certificate_fault(&self, fault: &CertificateError) -> String {
        match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired, or the clock of this box is wrong".into()
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "its certificate is not valid yet, or the clock of this box is wrong".into()
            }
            // A bad signature: an authority that we trust by name, with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                self.whom.unknown_issuer().into()
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                self.whom.other_name().into()
            }
            CertificateError::Revoked => "its certificate is revoked".into(),
            CertificateError::Other(OtherError(cause)) => {
                if cause.is::<NotPinned>() {
                    return NOT_PINNED.into();
                }
                if cause.to_string().contains("CaUsedAsEndEntity") {
                    return AUTHORITY_ITSELF.into();
                }
                "its certificate is not valid".into()
            }
            _ => "its certificate is not valid".into(),
        }
    }
}

pub(super) fn rustls_error(error: &io::Error) -> Option<&rustls::Error> {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
}

/// The library shows a stranger's error as a programmer would want to see it.
pub(super) fn readable(error: io::Error) -> io::Error {
    match rustls_error(&error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) => {
            io::Error::new(error.kind(), cause.to_string())
        }
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "the other end closed it")
        }
        Some(_) | None => error,
    }
}

fn is_about_certificates(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::NoCertificate
            | AlertDescription::HandshakeFailure
    )
}

const CLOSED_WHEN_SHOWN: &str =
    "it closed the connection when it had seen our client certificate, so it may not trust it";
const NOTHING_IN_COMMON: &str = "it speaks neither TLS 1.2 nor 1.3, or no cipher suite that we do";
const NOT_PINNED: &str = "its certificate is not the pinned one; if it was given a new one, compare the fingerprint at \
    the device itself and write it as [tls] pin, else somebody is in between";
const AUTHORITY_ITSELF: &str = "its certificate is one that signs itself as an authority; name it in [tls] pin instead of trust";
