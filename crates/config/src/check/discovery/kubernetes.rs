//! Targets from a Kubernetes cluster.

use std::collections::BTreeMap;

use super::{Checker, Place, line};
use crate::{
    ConfigError, HttpClientConfig, KubernetesApi, KubernetesDiscovery, KubernetesRole, KubernetesSelector,
    NotBuilt, raw, raw::Spanned,
};

impl Checker<'_> {
    pub(super) fn kubernetes_discovery(
        &self,
        mut given: raw::KubernetesDiscovery,
        place: &Place,
    ) -> Result<KubernetesDiscovery, ConfigError> {
        let role = match &given.role {
            Some(role) => self.kubernetes_role(&role.value, place.key("role", line(role)))?,
            None => {
                let reason = format!("role is missing: {}", roles());
                return self.invalid(place.key("role", place.line), reason);
            }
        };
        let http_client = self.http_client(given.take_http_client(), place)?;
        let api = self.kubernetes_api(&given, &http_client, place)?;
        let own_namespace = given.namespaces.own_namespace.filter(|own| own.value);
        if let Some(own) = own_namespace.as_ref().filter(|_| api != KubernetesApi::InCluster) {
            let place = place.key("namespaces", line(own)).key("own_namespace", line(own));
            return self.invalid(place, "only a process in the cluster has a namespace of its own");
        }
        let attach_node = given.attach_metadata.as_ref().is_some_and(|attach| attach.value.node);
        if let Some(attach) = given.attach_metadata.as_ref().filter(|_| attach_node && !role.is_on_node()) {
            let place = place.key("attach_metadata", line(attach)).key("node", line(attach));
            return self.invalid(place, format!("targets of role {} are on no node", role.as_str()));
        }
        let selectors = self.kubernetes_selectors(given.selectors, role, attach_node, place)?;
        if !cfg!(feature = "kubernetes") {
            return self.invalid(place.clone(), NotBuilt::KUBERNETES.to_string());
        }
        Ok(KubernetesDiscovery {
            api,
            role,
            namespaces: given.namespaces.names,
            own_namespace: own_namespace.is_some(),
            selectors,
            attach_node,
            http_client,
        })
    }

    fn kubernetes_role(&self, name: &str, place: Place) -> Result<KubernetesRole, ConfigError> {
        match KubernetesRole::from_name(name) {
            Some(role) => Ok(role),
            None => self.invalid(place, format!("{name:?} is not {}", roles())),
        }
    }

    fn kubernetes_api(
        &self,
        given: &raw::KubernetesDiscovery,
        http_client: &HttpClientConfig,
        place: &Place,
    ) -> Result<KubernetesApi, ConfigError> {
        let server = given.api_server.as_ref().filter(|url| !url.value.is_empty());
        let kubeconfig = given.kubeconfig_file.as_ref().filter(|path| !path.value.is_empty());
        let api = match (server, kubeconfig) {
            (Some(_), Some(kubeconfig)) => {
                let reason = "at most one of api_server & kubeconfig_file must be configured";
                return self.invalid(place.key("kubeconfig_file", line(kubeconfig)), reason);
            }
            (Some(url), None) => {
                return Ok(KubernetesApi::Server(self.http_url("api_server", url, place)?));
            }
            (None, Some(kubeconfig)) => KubernetesApi::Kubeconfig(self.directory.join(&kubeconfig.value)),
            (None, None) => KubernetesApi::InCluster,
        };
        if *http_client != HttpClientConfig::default() {
            let reason = "settings of the HTTP client need an api_server";
            return self.invalid(place.key("api_server", place.line), reason);
        }
        Ok(api)
    }

    fn kubernetes_selectors(
        &self,
        given: Vec<Spanned<raw::KubernetesSelector>>,
        role: KubernetesRole,
        attach_node: bool,
        place: &Place,
    ) -> Result<BTreeMap<KubernetesRole, KubernetesSelector>, ConfigError> {
        let looks_at = |kind| role.looks_at(kind) || attach_node && kind == KubernetesRole::Node;
        let mut selectors = BTreeMap::new();
        for (place, given) in super::entries("selectors", given, place) {
            let place = place.key("role", place.line);
            let kind = self.kubernetes_role(&given.role, place.clone())?;
            if !looks_at(kind) {
                let reason =
                    format!("{} objects are not looked at for role {}", kind.as_str(), role.as_str());
                return self.invalid(place, reason);
            }
            let some = |text: String| Some(text).filter(|text| !text.is_empty());
            let selector = KubernetesSelector { label: some(given.label), field: some(given.field) };
            if selectors.insert(kind, selector).is_some() {
                return self.invalid(place, format!("there are two selectors of role {}", kind.as_str()));
            }
        }
        Ok(selectors)
    }
}

fn roles() -> String {
    let names = KubernetesRole::ALL.map(KubernetesRole::as_str);
    format!("one of {}", names.join(", "))
}
