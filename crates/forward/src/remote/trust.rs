//! Whose certificates are believed: a store whose own is not looked at, and buckets of a store.

use std::sync::Arc;

use rustls::{
    DigitallySignedStruct, Error, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};
use rustls_platform_verifier::Verifier;

use crate::settings::Trust;

/// Who decides about hosts that the remote store names: as for the store, but beside the authorities of a file those of the
/// system are trusted too, as a bucket may be anywhere.
pub(crate) fn verifier(
    trust: &Trust,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ServerCertVerifier>, String> {
    let verifier = match trust {
        Trust::Anyone => return Ok(anyone()),
        Trust::System => Verifier::new(provider),
        Trust::File(path) => {
            let unread = |error| format!("{}: {error}", path.display());
            let authorities = CertificateDer::pem_file_iter(path).map_err(unread)?;
            let authorities = authorities.collect::<Result<Vec<_>, _>>().map_err(unread)?;
            Verifier::new_with_extra_roots(authorities, provider)
        }
    };
    Ok(Arc::new(verifier.map_err(|error| error.to_string())?))
}

/// Believes every certificate; that the other end has its key is still checked.
pub(super) fn anyone() -> Arc<dyn ServerCertVerifier> {
    Arc::new(Anyone { provider: ring::default_provider() })
}

#[derive(Debug)]
struct Anyone {
    provider: CryptoProvider,
}

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
