//! An authority that signs what the charm asks for.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType, IsCa, Issuer, KeyPair,
};
use serde_json::{Value, json};

/// Who signs certificates.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, which whoever trusts it has.
    pub(crate) pem: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "authority of the model");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate for a name, and its key, in PEM.
    pub(crate) fn certify(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// What a provider of certificates answers to the requests in a unit's databag.
    pub(crate) fn answer(&self, requests: &str) -> String {
        let requests: Vec<Value> = serde_json::from_str(requests).unwrap();
        let given = requests.iter().map(|request| {
            let request = request["certificate_signing_request"].as_str().unwrap();
            let mut params = CertificateSigningRequestParams::from_pem(request).unwrap();
            params.params.not_before = (SystemTime::now() - Duration::from_secs(60)).into();
            params.params.not_after = (SystemTime::now() + Duration::from_secs(3600)).into();
            let certificate = params.signed_by(&self.issuer).unwrap().pem();
            json!({
                "ca": self.pem,
                "certificate_signing_request": request,
                "certificate": certificate,
                "chain": [certificate, self.pem],
            })
        });
        Value::Array(given.collect()).to_string()
    }
}
