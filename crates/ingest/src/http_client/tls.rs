//! The TLS side of a client: trust, identity, versions.
//!
//! The system's certificates are read on the first handshake that needs them, so that clients without TLS do not pay for them.

use std::sync::{Arc, OnceLock};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    version::{TLS12, TLS13},
};

use decima_config::{TlsConfig, TlsVersion};

/// The PEM texts of a configuration, read from where it says.
#[derive(Default, PartialEq)]
pub(super) struct Pem {
    pub(super) ca: Option<Vec<u8>>,
    pub(super) cert: Option<Vec<u8>>,
    pub(super) key: Option<Vec<u8>>,
}

/// A TLS setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsSetupError {
    /// A PEM text without what it should hold.
    #[error("tls_config: no {what} in the PEM text")]
    NoPem {
        /// What is missing.
        what: &'static str,
    },
    /// A PEM text that is damaged.
    #[error("tls_config: cannot read the {what}")]
    Pem {
        /// What is damaged.
        what: &'static str,
        /// How.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A name that no certificate can have.
    #[error("tls_config: server_name {name:?} is not a name")]
    ServerName {
        /// The name.
        name: String,
    },
    /// TLS cannot be set up like this.
    #[error("tls_config")]
    Tls(#[from] TlsError),
    /// The certificates to trust cannot be used.
    #[error("tls_config: ca")]
    Trust(#[from] rustls::client::VerifierBuilderError),
}

/// What a client offers and trusts.
pub(super) fn client_config(
    tls: &TlsConfig,
    pem: &Pem,
    http1_only: bool,
) -> Result<ClientConfig, TlsSetupError> {
    let provider = Arc::new(ring::default_provider());
    let min = tls.min_version.unwrap_or(TlsVersion::Tls12);
    let max = tls.max_version.unwrap_or(TlsVersion::Tls13);
    let versions: Vec<_> = [(TlsVersion::Tls12, &TLS12), (TlsVersion::Tls13, &TLS13)]
        .into_iter()
        .filter(|(version, _)| (min..=max).contains(version))
        .map(|(_, supported)| supported)
        .collect();
    let verifier = Verifier {
        trust: trust(tls, pem, &provider)?,
        server_name: server_name(tls)?,
        provider: provider.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = match (&pem.cert, &pem.key) {
        (Some(cert), Some(key)) => {
            config.with_client_auth_cert(certificates(cert, "certificate")?, private_key(key)?)?
        }
        _ => config.with_no_client_auth(),
    };
    config.alpn_protocols =
        if http1_only { vec![b"http/1.1".to_vec()] } else { vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
    Ok(config)
}

fn trust(tls: &TlsConfig, pem: &Pem, provider: &Arc<CryptoProvider>) -> Result<Trust, TlsSetupError> {
    if tls.insecure_skip_verify {
        return Ok(Trust::Anyone);
    }
    let Some(ca) = &pem.ca else { return Ok(Trust::System(OnceLock::new())) };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca, "certificate to trust")? {
        roots.add(certificate)?;
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    Ok(Trust::Issuers(verifier))
}

fn server_name(tls: &TlsConfig) -> Result<Option<ServerName<'static>>, TlsSetupError> {
    let Some(name) = &tls.server_name else { return Ok(None) };
    match ServerName::try_from(name.clone()) {
        Ok(name) => Ok(Some(name)),
        Err(_) => Err(TlsSetupError::ServerName { name: name.clone() }),
    }
}

fn certificates(pem: &[u8], what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsSetupError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates = certificates.map_err(|source| TlsSetupError::Pem { what, source })?;
    if certificates.is_empty() { Err(TlsSetupError::NoPem { what }) } else { Ok(certificates) }
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsSetupError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| TlsSetupError::Pem { what: "private key", source })
}

#[derive(Debug)]
enum Trust {
    Anyone,
    Issuers(Arc<WebPkiServerVerifier>),
    System(OnceLock<Result<rustls_platform_verifier::Verifier, TlsError>>),
}

/// Verifies a server's certificate by what is trusted, under the name that is expected.
#[derive(Debug)]
struct Verifier {
    trust: Trust,
    server_name: Option<ServerName<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        let server_name = self.server_name.as_ref().unwrap_or(server_name);
        let verifier: &dyn ServerCertVerifier = match &self.trust {
            Trust::Anyone => return Ok(ServerCertVerified::assertion()),
            Trust::Issuers(verifier) => verifier.as_ref(),
            Trust::System(loaded) => {
                match loaded.get_or_init(|| rustls_platform_verifier::Verifier::new(self.provider.clone())) {
                    Ok(verifier) => verifier,
                    // Without certificates of the system every issuer is unknown.
                    Err(_) => return Err(CertificateError::UnknownIssuer.into()),
                }
            }
        };
        verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
