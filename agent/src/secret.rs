//! Where a secret lies: in a file, or in a credential that the service manager hands over.
//!
//! A setting names the place; the secret itself is read when it is needed and kept nowhere, so that a new one takes
//! effect without a restart and two settings can be compared.

use std::io;
use std::path::PathBuf;

use secrecy::SecretString;

/// The place of one secret.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Secret {
    File(PathBuf),
    /// The name of a systemd credential.
    Credential(String),
}

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error(
        "the credential {name} is not there: give it to the service with LoadCredential={name}, or name a file in the configuration"
    )]
    NoCredential { name: String },
    #[error("cannot read {path}: does it exist, and may the service's user read it?")]
    Unreadable { path: PathBuf, source: io::Error },
}

impl Secret {
    /// The file that holds it, whether or not it is there.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Credential(name) => {
                let folder = std::env::var_os("CREDENTIALS_DIRECTORY")?;
                Some(PathBuf::from(folder).join(name))
            }
        }
    }

    /// Reads it; the end of a line behind it does not count.
    pub fn read(&self) -> Result<SecretString, SecretError> {
        let path = self.path().ok_or_else(|| self.missing())?;
        match std::fs::read_to_string(&path) {
            // The unit file gives an empty one where there is none.
            Ok(text) if text.trim().is_empty() && self.is_credential() => Err(self.missing()),
            Ok(text) => Ok(SecretString::from(
                text.trim_end_matches(['\r', '\n']).to_owned(),
            )),
            Err(source) if source.kind() == io::ErrorKind::NotFound && self.is_credential() => {
                Err(self.missing())
            }
            Err(source) => Err(SecretError::Unreadable { path, source }),
        }
    }

    fn is_credential(&self) -> bool {
        matches!(self, Self::Credential(_))
    }

    fn missing(&self) -> SecretError {
        match self {
            Self::File(path) => SecretError::Unreadable {
                path: path.clone(),
                source: io::ErrorKind::NotFound.into(),
            },
            Self::Credential(name) => SecretError::NoCredential { name: name.clone() },
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_secret_is_read_without_the_end_of_its_line() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "not a secret\r\n").unwrap();
        let secret = Secret::File(file.path().to_owned()).read().unwrap();
        assert_eq!(secret.expose_secret(), "not a secret");
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let missing = Secret::File("/nowhere/proxy-password".into());
        let told = missing.read().unwrap_err().to_string();
        assert!(told.contains("/nowhere/proxy-password"), "{told}");
        let told = Secret::Credential("no-such-thing".into())
            .read()
            .unwrap_err();
        assert!(
            told.to_string().contains("LoadCredential=no-such-thing"),
            "{told}"
        );
    }
}
