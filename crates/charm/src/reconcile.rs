//! The decision: from the world as it is to what is to be written. Pure: no tool is called, nothing is written here.
//!
//! What is right already is not in the answer, so over a world that has settled there is nothing to write but the status.
//! A store that cannot be reached yet is not handed out: tokens go into the workload before they go into a databag.

use std::collections::{BTreeMap, BTreeSet};

use decima_juju::{OwnBag, Port, RelationId, SecretId, Status, pebble::Layer};
use parca_store::Store;

use crate::{
    mint::Mint,
    names,
    options::Options,
    relations::{
        Problem, Wanted,
        certificates::{self, Certificate, KeptIdentity},
        external_store, grafana, ingress,
        ingress::Ingress,
        logging, metrics, profiling, s3, self_profiling, store,
    },
    token::{Grant, Scope, Token, tokens_file},
    workload::{self, File},
    world::{Container, Relation, RelationToken, World},
};

/// Grants of people in a tokens file have names that begin so; those of relations begin with an endpoint.
pub const PERSON_GRANT: &str = "person:";

/// Name of a person's token in the workload.
pub fn person_grant(name: &str) -> String {
    format!("{PERSON_GRANT}{name}")
}

/// What is to be written, in the order of its fields.
#[derive(Debug, Clone, PartialEq)]
pub struct Writes {
    /// Ports to be opened.
    pub open: Vec<Port>,
    /// Ports to be closed.
    pub close: Vec<Port>,
    /// Tokens to be kept in secrets.
    pub tokens: Vec<NewToken>,
    /// The unit's key and request for a certificate, to be kept in a secret.
    pub keep: Option<KeptIdentity>,
    /// Files of the container to be written.
    pub files: BTreeMap<String, File>,
    /// The layer to be combined into the plan.
    pub layer: Option<Layer>,
    /// Whether what runs is to be brought in line with the plan.
    pub replan: bool,
    /// Files of the container to be removed, after that.
    pub stale_files: Vec<String>,
    /// Databags to be changed. Those of senders wait for a workload that knows their tokens.
    pub bags: Vec<BagWrite>,
    /// Secrets whose relation is gone.
    pub orphans: Vec<SecretId>,
    /// What the operator is told, if all of this succeeds.
    pub status: Status,
}

impl Writes {
    fn of(status: Status) -> Self {
        Self {
            open: Vec::new(),
            close: Vec::new(),
            tokens: Vec::new(),
            keep: None,
            files: BTreeMap::new(),
            layer: None,
            replan: false,
            stale_files: Vec::new(),
            bags: Vec::new(),
            orphans: Vec::new(),
            status,
        }
    }

    /// Whether there is nothing to write but the status.
    pub fn is_settled(&self) -> bool {
        *self == Self::of(self.status.clone())
    }
}

/// A token to be kept for a relation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// The relation.
    pub relation: RelationId,
    /// Its token.
    pub token: Token,
    /// The secret to be written anew, where there is one that holds no token.
    pub secret: Option<SecretId>,
}

/// Keys of a databag to be changed; an empty value deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BagWrite {
    /// The relation.
    pub relation: RelationId,
    /// Which of our two.
    pub bag: OwnBag,
    /// Keys and values.
    pub settings: BTreeMap<String, String>,
    /// Whether it holds a token, and so has to wait for the workload.
    pub has_token: bool,
}

/// Decides what is to be written. `mint` makes what has to be new each time.
pub fn reconcile(world: &World, mint: &mut dyn Mint) -> Writes {
    if world.peers > 0 {
        return Writes::of(Status::blocked(
            "more than one unit is not supported; remove the others or deploy another application",
        ));
    }
    let mut problems = Vec::new();
    let options = match &world.options {
        Ok(options) => Some(options.clone()),
        Err(error) => {
            let place = format!("option {}", error.name);
            problems.push(Problem::blocking(&place, format!("not {}", error.expected)));
            in_force(world)
        }
    };
    let mut reconciliation =
        Reconciliation { world, options, problems, writes: Writes::of(Status::active()) };
    reconciliation.ports();
    let ingress = reconciliation.ingress();
    let certificate = reconciliation.certificate(mint);
    let certificate = certificate.as_ref();
    let tokens = reconciliation.tokens(mint);
    let forward = reconciliation.noted(external_store::read(world));
    match &world.container {
        Some(container) => reconciliation.workload(container, certificate, forward.as_ref(), &tokens),
        None => reconciliation.problems.push(Problem::passing("parca", "waiting for the container")),
    }
    reconciliation.databags(ingress.as_ref(), certificate, &tokens);
    let message = match &forward {
        Some(store) => format!("profiles are sent on to {}", store.address),
        None => format!("page at {}", grafana::url(world, ingress.as_ref(), certificate.is_some())),
    };
    reconciliation.finish(message)
}

/// The options that the workload was started with: it stays with them until others can be used.
fn in_force(world: &World) -> Option<Options> {
    let service = world.container.as_ref()?.plan.services.get(names::SERVICE)?;
    Options::of_command(service.command.as_ref()?)
}

struct Reconciliation<'a> {
    world: &'a World,
    /// None if they cannot be used and nothing runs. Tokens end even then; nothing is started or handed out.
    options: Option<Options>,
    problems: Vec<Problem>,
    writes: Writes,
}

impl<'a> Reconciliation<'a> {
    fn ports(&mut self) {
        let wanted = BTreeSet::from([Port::tcp(names::GRPC_PORT), Port::tcp(names::HTTP_PORT)]);
        self.writes.open = wanted.difference(&self.world.ports).copied().collect();
        self.writes.close = self.world.ports.difference(&wanted).copied().collect();
    }

    /// What a reading says, or nothing with its problem noted.
    fn noted<T>(&mut self, reading: Result<Option<T>, Problem>) -> Option<T> {
        match reading {
            Ok(found) => found,
            Err(problem) => {
                self.problems.push(problem);
                None
            }
        }
    }

    fn ingress(&mut self) -> Option<Ingress> {
        self.noted(ingress::read(self.world))
    }

    /// The certificate to serve with. Asking for one is this unit's own business, whoever leads.
    fn certificate(&mut self, mint: &mut dyn Mint) -> Option<Certificate> {
        let reading = certificates::read(self.world, mint, &mut self.problems);
        if let Some(relation) = self.world.of(names::CERTIFICATES).next() {
            self.unit_bag(relation, reading.wanted);
        }
        self.writes.keep = reading.keep;
        self.writes.orphans.extend(reading.orphan);
        reading.certificate
    }

    /// Endpoints whose relations have a token, and what it is good for.
    fn scopes(&self) -> Vec<(&'static str, Scope)> {
        let mut scopes = vec![(names::STORE, Scope::Write)];
        if self.options.as_ref().is_none_or(|options| options.require_sign_in) {
            scopes.push((names::GRAFANA, Scope::Read));
        }
        scopes
    }

    /// The token of each relation that has one, old or new; tokens whose relation needs none any more are orphans.
    fn tokens(&mut self, mint: &mut dyn Mint) -> BTreeMap<RelationId, (Scope, Token)> {
        let mut tokens = BTreeMap::new();
        for (endpoint, scope) in self.scopes() {
            for relation in self.world.of(endpoint) {
                if let Some(token) = self.world.token(&relation.id) {
                    tokens.insert(relation.id.clone(), (scope, token.clone()));
                } else if self.world.is_leader && self.world.container.is_some() && self.options.is_some() {
                    match mint.token() {
                        Ok(token) => {
                            let secret =
                                self.world.kept_token(&relation.id).and_then(|kept| kept.secret.clone());
                            let new =
                                NewToken { relation: relation.id.clone(), token: token.clone(), secret };
                            self.writes.tokens.push(new);
                            tokens.insert(relation.id.clone(), (scope, token));
                        }
                        Err(error) => self.problems.push(Problem::passing(endpoint, error.to_string())),
                    }
                }
            }
        }
        // Of several secrets of one relation, as nobody should have made them, the first is the one that counts.
        let needed: Vec<&RelationToken> =
            tokens.keys().filter_map(|relation| self.world.kept_token(relation)).collect();
        let is_orphan = |token: &&RelationToken| !needed.iter().any(|kept| std::ptr::eq(*kept, *token));
        let orphans = self.world.relation_tokens.iter().filter(is_orphan);
        self.writes.orphans.extend(orphans.filter_map(|token| token.secret.clone()));
        tokens
    }

    fn workload(
        &mut self,
        container: &Container,
        certificate: Option<&Certificate>,
        forward: Option<&Store>,
        tokens: &BTreeMap<RelationId, (Scope, Token)>,
    ) {
        let tokens = workload::tokens_file(self.grants(container, tokens));
        let Some(options) = self.options.clone() else {
            self.writes.files = BTreeMap::from([(names::TOKENS_FILE.to_owned(), tokens)]);
            self.writes.files.retain(|path, file| container.files.get(path) != Some(&file.content));
            return;
        };
        let mut jobs = profiling::jobs(self.world, &mut self.problems);
        if self.world.of(names::SELF_PROFILING).next().is_none() {
            jobs.push(workload::self_job(self.world));
        }
        let bucket = s3::read(self.world, &mut self.problems);
        let log_targets = logging::targets(self.world, &container.plan, &mut self.problems);
        let wanted = workload::Wanted { options: &options, certificate, forward, bucket: bucket.as_ref() };
        let layer = workload::layer(&wanted, log_targets);
        let is_right =
            layer.services.iter().all(|(name, service)| container.plan.services.get(name) == Some(service))
                && layer.checks.iter().all(|(name, check)| container.plan.checks.get(name) == Some(check))
                && layer
                    .log_targets
                    .iter()
                    .all(|(name, target)| container.plan.log_targets.get(name) == Some(target));
        if let Some(complaint) = container.complaint.as_ref().filter(|_| is_right) {
            self.problems.push(does_not_serve(complaint));
        }
        self.writes.replan = !is_right || !container.is_running;
        self.writes.layer = (!is_right).then_some(layer);

        let mut files = BTreeMap::from([
            (names::CONFIG_FILE.to_owned(), workload::config_file(&jobs, bucket.as_ref())),
            (names::TOKENS_FILE.to_owned(), tokens),
        ]);
        files.extend(certificate.map(workload::certificate_files).into_iter().flatten());
        files.extend(forward.and_then(workload::forward_token_file));
        files.extend(bucket.as_ref().and_then(workload::bucket_authorities_file));
        self.writes.stale_files =
            container.files.keys().filter(|path| !files.contains_key(*path)).cloned().collect();
        files.retain(|path, file| container.files.get(path) != Some(&file.content));
        self.writes.files = files;
    }

    /// The tokens file. Who does not lead cannot list people's secrets and keeps what the file has of them.
    fn grants(&self, container: &Container, tokens: &BTreeMap<RelationId, (Scope, Token)>) -> Vec<u8> {
        let mut grants: Vec<Grant> = tokens
            .iter()
            .map(|(relation, (scope, token))| Grant {
                name: store::grant_name(relation),
                scope: *scope,
                hash: token.hash(),
            })
            .collect();
        if self.world.is_leader {
            grants.extend(self.world.person_tokens.iter().filter_map(|person| {
                let (scope, hash) = person.known.clone()?;
                Some(Grant { name: person_grant(&person.name), scope, hash })
            }));
        } else if let Some(file) = container.files.get(names::TOKENS_FILE) {
            grants.extend(
                Grant::read_all(file).into_iter().filter(|grant| grant.name.starts_with(PERSON_GRANT)),
            );
        }
        tokens_file(grants)
    }

    fn databags(
        &mut self,
        ingress: Option<&Ingress>,
        certificate: Option<&Certificate>,
        tokens: &BTreeMap<RelationId, (Scope, Token)>,
    ) {
        let Some(require_sign_in) = self.options.as_ref().map(|options| options.require_sign_in) else {
            return;
        };
        let is_tls = certificate.is_some();
        let world = self.world;
        for relation in world.of(names::STORE) {
            // Not before the workload can know the token.
            if let (Some((_, token)), Some(_)) = (tokens.get(&relation.id), &world.container) {
                self.app_bag(relation, store::wanted(world, ingress, is_tls, token), true);
            }
        }
        let url = grafana::url(world, ingress, is_tls);
        for relation in world.of(names::GRAFANA) {
            let token = tokens.get(&relation.id).map(|(_, token)| token);
            if !require_sign_in || (token.is_some() && world.container.is_some()) {
                self.app_bag(relation, grafana::wanted(world, &url, token), token.is_some());
            }
        }
        for relation in world.of(names::METRICS) {
            self.unit_bag(relation, metrics::unit(world));
            self.app_bag(relation, metrics::app(world, certificate), false);
        }
        for relation in world.of(names::SELF_PROFILING) {
            self.unit_bag(relation, self_profiling::unit(world));
            self.app_bag(relation, self_profiling::app(world, certificate), false);
        }
        for relation in world.of(names::INGRESS) {
            self.app_bag(relation, ingress::wanted(world, is_tls), false);
        }
        for relation in world.of(names::S3) {
            self.app_bag(relation, s3::wanted(), false);
        }
    }

    fn unit_bag(&mut self, relation: &Relation, wanted: Wanted) {
        self.bag(relation, OwnBag::Unit, &relation.own_unit, wanted, false);
    }

    /// Only the leader has an application's databag to compare with, and only the leader writes it.
    fn app_bag(&mut self, relation: &Relation, wanted: Wanted, has_token: bool) {
        if let Some(own) = &relation.own_app {
            self.bag(relation, OwnBag::App, own, wanted, has_token);
        }
    }

    fn bag(
        &mut self,
        relation: &Relation,
        bag: OwnBag,
        own: &BTreeMap<String, String>,
        wanted: Wanted,
        has_token: bool,
    ) {
        let differs = |(key, value): &(&str, String)| own.get(*key).map_or("", String::as_str) != value;
        let settings: BTreeMap<String, String> =
            wanted.into_iter().filter(differs).map(|(key, value)| (key.to_owned(), value)).collect();
        if !settings.is_empty() {
            self.writes.bags.push(BagWrite { relation: relation.id.clone(), bag, settings, has_token });
        }
    }

    /// The worst problem is what the operator is told, or else what there is to tell.
    fn finish(mut self, message: String) -> Writes {
        self.writes.status = status(&self.problems).unwrap_or_else(|| Status { message, ..Status::active() });
        self.writes
    }
}

/// A workload that runs, again and again perhaps, and does not serve. One that has not said why may be on its way.
fn does_not_serve(complaint: &str) -> Problem {
    let message = format!("does not serve: {complaint}");
    match workload::is_reason(complaint) {
        true => Problem::blocking("parca", message),
        false => Problem::passing("parca", message),
    }
}

/// The worst of the problems, those that somebody has to mend first.
pub fn status(problems: &[Problem]) -> Option<Status> {
    let worst = problems.iter().find(|problem| problem.is_blocking).or(problems.first())?;
    let more = match problems.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    let text = format!("{worst}{more}");
    Some(if worst.is_blocking { Status::blocked(text) } else { Status::waiting(text) })
}

#[cfg(test)]
pub(crate) mod tests;
