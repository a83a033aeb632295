//! What is made at random: tokens, keys, requests for certificates. The one thing that the decision asks for.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};

use crate::token::{RandomError, Token};

/// Longest common name of a certificate.
const COMMON_NAME_CHARS_MAX: usize = 64;

/// Makes what has to be new each time.
pub trait Mint {
    /// A new token.
    fn token(&mut self) -> Result<Token, MintError>;

    /// A key, if there is none yet, and a new request for a certificate of these names.
    fn identity(&mut self, request: &Request<'_>) -> Result<Identity, MintError>;
}

/// What a certificate shall be for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Name of the application.
    pub app: &'a str,
    /// Names by which the server is reached.
    pub names: &'a [String],
    /// The key, in PEM, if there is one.
    pub key: Option<&'a str>,
}

/// A key and what it asks a certificate for. Its `Debug` output does not show the key.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The private key, in PEM.
    pub key: String,
    /// The request, in PEM.
    pub request: String,
    /// The names in the request.
    pub names: Vec<String>,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").field("names", &self.names).finish_non_exhaustive()
    }
}

/// Something could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// No token.
    #[error(transparent)]
    Random(#[from] RandomError),
    /// No key or request.
    #[error("cannot make a request for a certificate")]
    Request(#[from] rcgen::Error),
}

/// Makes it of this machine's random bits.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl Mint for Machine {
    fn token(&mut self) -> Result<Token, MintError> {
        Ok(Token::random()?)
    }

    fn identity(&mut self, request: &Request<'_>) -> Result<Identity, MintError> {
        // A key of another kind, as another charm may have left it, is replaced.
        let key = match request.key.map(KeyPair::from_pem) {
            Some(Ok(key)) => key,
            _ => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?,
        };
        let mut params = CertificateParams::new(request.names)?;
        params.distinguished_name = DistinguishedName::new();
        let common_name: String = request.app.chars().take(COMMON_NAME_CHARS_MAX).collect();
        params.distinguished_name.push(DnType::CommonName, common_name);
        let signed = params.serialize_request(&key)?.pem()?;
        Ok(Identity {
            key: key.serialize_pem(),
            request: signed.trim().to_owned(),
            names: request.names.to_vec(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_with_the_key_that_is_there() {
        let names = ["a.example".to_owned(), "b.example".to_owned()];
        let request = Request { app: "parca-k8s", names: &names, key: None };
        let first = Machine.identity(&request).unwrap();
        assert!(first.request.starts_with("-----BEGIN CERTIFICATE REQUEST-----"));
        let second = Machine.identity(&Request { key: Some(&first.key), ..request }).unwrap();
        assert_eq!(first.key, second.key);
        assert_ne!(first.request, second.request, "each request is a new one");
        let other = Machine.identity(&Request { key: Some("nonsense"), ..request }).unwrap();
        assert_ne!(first.key, other.key);
    }
}
