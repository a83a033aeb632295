//! TLS of the listener: the pair of certificate and key as it is now, and who clients are.

use std::{error::Error, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::WebPkiClientVerifier,
};

use crate::{
    reload::{ReloadError, Reloaded},
    settings::TlsFiles,
};

/// PEM texts that make no TLS.
#[derive(Debug, thiserror::Error)]
enum TlsError {
    #[error("no {what} in the PEM text")]
    NoPem { what: &'static str },
    #[error("cannot read the {what}")]
    Pem {
        what: &'static str,
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    #[error("the key is not the certificate's")]
    Mismatch,
    #[error("cannot be used")]
    Tls(#[source] rustls::Error),
    #[error("the authority of clients cannot be used")]
    ClientCa(#[source] rustls::server::VerifierBuilderError),
}

/// Certificate, key and authority of clients, with what becomes of them.
pub(crate) fn open(files: &TlsFiles) -> Result<Reloaded<ServerConfig>, ReloadError> {
    let paths: Vec<PathBuf> =
        [&files.certificate, &files.key].into_iter().chain(&files.client_ca).cloned().collect();
    let build = |contents: &[Vec<u8>]| -> Result<ServerConfig, Box<dyn Error + Send + Sync>> {
        let [certificate, key, client_ca @ ..] = contents else { return Err("too few files".into()) };
        Ok(server_config(certificate, key, client_ca.first().map(Vec::as_slice))?)
    };
    Reloaded::open("certificate", paths, Box::new(build))
}

fn server_config(certificate: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(ring::default_provider());
    let chain = certificates(certificate, "certificate")?;
    let key = match PrivateKeyDer::from_pem_slice(key) {
        Ok(key) => key,
        Err(rustls::pki_types::pem::Error::NoItemsFound) => {
            return Err(TlsError::NoPem { what: "private key" });
        }
        Err(source) => return Err(TlsError::Pem { what: "private key", source }),
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Tls)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for root in certificates(pem, "authority of clients")? {
                roots.add(root).map_err(TlsError::Tls)?;
            }
            // Those who show none may still ask for the server's health; the guard refuses them everything else.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(TlsError::ClientCa)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => TlsError::Mismatch,
        error => TlsError::Tls(error),
    })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|source| TlsError::Pem { what, source })?;
    if certificates.is_empty() { Err(TlsError::NoPem { what }) } else { Ok(certificates) }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    fn pair() -> (String, String) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        (cert.pem(), signing_key.serialize_pem())
    }

    #[test]
    fn pairs() {
        let (certificate, key) = pair();
        let (other, _) = pair();
        let check = |certificate: &str, key: &str, ca: Option<&str>, expected: &str| {
            let built = server_config(certificate.as_bytes(), key.as_bytes(), ca.map(str::as_bytes));
            let got = built.map_or_else(|error| error.to_string(), |_| "fine".to_owned());
            assert!(got.starts_with(expected), "{got} is not {expected}");
        };
        check(&certificate, &key, None, "fine");
        check(&certificate, &key, Some(&other), "fine");
        check(&format!("{certificate}{other}"), &key, None, "fine");
        check(&other, &key, None, "the key is not the certificate's");
        check("", &key, None, "no certificate in the PEM text");
        check(&certificate, "", None, "no private key in the PEM text");
        check(&key, &key, None, "no certificate in the PEM text");
        check(&certificate, &certificate, None, "no private key in the PEM text");
        check(&certificate[..certificate.len() / 2], &key, None, "");
        check(&certificate, &key, Some("nothing"), "no authority of clients in the PEM text");
    }
}
