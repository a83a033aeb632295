//! `decima serve`: the order in which the parts start and stop.

use std::{
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
};

use anyhow::{Context, bail};
use decima_config::{Config, Credentials, Scheme, Secret, SecretSource};
use decima_debuginfo::{
    AnswerCache, Debuginfo, DebuginfoOptions, OtherNames, Resolver,
    debuginfod::{Debuginfod, DebuginfodOptions},
};
use decima_forward::Forwarder;
use decima_ingest::{
    push::Push,
    scrape::{self, Scraper},
};
use decima_query::{Engine, Symbolizer};
use decima_server::{Handles, Listener, Server};
use decima_store::{OpenError, Store, bucket::Bucket};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    task::JoinSet,
};

use crate::{
    args::Role,
    config_file::{self, ReloadSignal},
    logging,
    place::PlaceFlags,
    settings::Settings,
    value::{Address, ListenAddress},
};

/// Runs the store until a signal asks it to stop, then drains and flushes.
///
/// It reads the configuration before it listens, so that a wrong one ends a start that nobody has noticed. It listens before the
/// store is open, so that probes get an answer while a long log is replayed, and says where it is when it serves.
pub(crate) async fn run(settings: Settings) -> anyhow::Result<()> {
    logging::start(settings.log_level, settings.log_format);
    for flag in &settings.without_effect {
        tracing::warn!(flag, "this flag has no effect here");
    }
    let mut stop = StopSignals::listen()?;
    let hangup = ReloadSignal::listen()?;
    let config_file = settings.config_path.as_deref().map(config_file::open).transpose()?;
    // A forwarder keeps nothing in the bucket.
    if settings.forward.is_none()
        && let Some(file) = &config_file
        && let Some(bucket) = &file.subscribe().borrow().object_storage
    {
        bucket.check().context("object_storage of the configuration")?;
    }
    let listeners = listen(&settings).await?;
    let tls: Vec<_> = listeners.iter().map(|listener| listener.tls).collect();
    let path_prefix = settings.server.path_prefix.clone();
    let has_certificate = settings.server.tls.is_some();
    let has_client_ca = settings.server.tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    let has_tokens = settings.server.access.tokens_file.is_some();
    let mut server = Server::start(listeners, settings.server)?;
    let bound: Vec<_> = server.addresses().iter().copied().zip(tls).collect();
    for (address, tls) in &bound {
        tracing::info!(%address, tls, "listening");
    }
    if has_certificate && !bound.iter().any(|(_, tls)| *tls) {
        tracing::warn!(
            "the certificate is not used: addresses on loopback are without TLS unless they begin with https://"
        );
    }
    let is_plain = |(address, tls): &(SocketAddr, bool)| !tls && !address.ip().to_canonical().is_loopback();
    let is_plain = bound.iter().any(is_plain);
    if has_tokens && is_plain {
        tracing::warn!("tokens that are sent to addresses without TLS can be read on their way");
    }
    if has_client_ca && is_plain {
        tracing::warn!(
            "--tls-client-ca-file keeps nobody out of addresses without TLS, and one is not loopback"
        );
    }
    if server.is_open() {
        tracing::warn!(
            "anybody who reaches this machine can read and write profiles: --auth-tokens-file makes it ask for tokens"
        );
    }
    let url = bound.first().map(|&(address, tls)| page_url(address, tls, &path_prefix)).unwrap_or_default();
    let mut background = JoinSet::new();
    background.spawn(hangup.serve(server.reloads()));
    let config = match config_file {
        Some(file) => server.follow(file),
        // Who forwards does not ask for profiles of the forwarder unless the configuration does.
        None if settings.forward.is_some() => unchanging(Config::default()),
        None => unchanging(of_itself(&bound, &path_prefix, server.own_token())),
    };
    if let Some(forward) = settings.forward {
        return send_on(server, forward, config, &url, &mut stop).await;
    }
    let bucket = config.borrow().object_storage.clone();
    let store = tokio::select! {
        opened = open(settings.role, &settings.place, settings.store, bucket.as_ref()) => opened?,
        () = stop.next() => return Ok(()),
    };
    let push = Push::new(store.clone(), settings.limits).with_sample_labels(settings.sample_labels);
    let other_names = OtherNames::by({
        let push = push.clone();
        move |name| push.object_files().names(name)
    });
    let options = DebuginfoOptions {
        objects_folder: settings.place.files(bucket.as_ref()),
        other_names,
        writes: settings.role == Role::All,
        ..settings.debuginfo
    };
    let debuginfo = Debuginfo::open(store.objects(), options, debuginfod(settings.debuginfod)?).await;
    let debuginfo = Arc::new(debuginfo.context("cannot open what is kept of object files")?);
    let resolver = Resolver::new(Arc::clone(&debuginfo), settings.resolver);
    let resolver = Arc::new(match answers(&debuginfo, settings.answers_bytes_max) {
        Some(answers) => resolver.with_answers(answers),
        None => resolver,
    });
    let symbolizer = Symbolizer::new(resolver, settings.symbolizer_timeout);
    store.symbolize_with(Arc::new(symbolizer.clone()));
    // A process that only answers leaves what is kept to the one that writes it.
    if settings.role == Role::All {
        maintain(&mut background, &store, &debuginfo, &symbolizer);
    }
    let scraper = Scraper::new(push.clone(), scrape::Settings::default());
    let engine = Engine::new(store.clone(), settings.query).with_symbolizer(symbolizer.clone());
    let handles = Handles { engine, push, debuginfo };
    let serving = async {
        // Not earlier: both promise that it serves.
        announce(&url);
        tokio::select! {
            () = scrape_as(settings.role, config, &scraper) => {}
            () = stop.next() => {}
        }
        tracing::info!("stopping: draining, then flushing");
        scraper.shutdown().await;
    };
    server
        .with_scraper(scraper.clone())
        .with_store(store.clone())
        .with_symbolizer(symbolizer.clone())
        .serve(handles, serving)
        .await?;
    symbolizer.stop();
    tokio::select! {
        closed = store.close() => closed.context("cannot flush; the log keeps the samples for the next start")?,
        () = stop.next() => bail!("stopped while flushing; the log keeps the samples for the next start"),
    }
    tracing::info!("stopped");
    Ok(())
}

/// What was read of object files before this start. It can all be read again, so that a disk that fails stops nothing.
fn answers(debuginfo: &Debuginfo, bytes_max: u64) -> Option<AnswerCache> {
    if bytes_max == 0 {
        return None;
    }
    let folder = debuginfo.cache_folder().join("answers");
    match AnswerCache::open(folder.clone(), bytes_max) {
        Ok(answers) => Some(answers),
        Err(error) => {
            tracing::warn!(folder = %folder.display(), %error, "functions of addresses are not kept on disk");
            None
        }
    }
}

/// Opens the store as the role says.
async fn open(
    role: Role,
    place: &PlaceFlags,
    settings: decima_store::Settings,
    bucket: Option<&Bucket>,
) -> Result<Store, OpenError> {
    match role {
        Role::All => Store::open_at(settings, place.open(bucket)?).await,
        Role::Query => Store::follow(settings, &place.share(bucket)?).await,
    }
}

/// What goes on without anybody asking, until `tasks` is dropped.
fn maintain(tasks: &mut JoinSet<()>, store: &Store, debuginfo: &Arc<Debuginfo>, symbolizer: &Symbolizer) {
    let debuginfo = Arc::clone(debuginfo);
    tasks.spawn(async move { debuginfo.keep_maintained().await });
    let (store, symbolizer) = (store.clone(), symbolizer.clone());
    tasks.spawn(async move { symbolizer.keep_ahead(&store).await });
}

/// Sends everything on until a signal asks it to stop. What has not arrived then is sent after the next start.
async fn send_on(
    server: Server,
    settings: decima_forward::Settings,
    config: config_file::Current,
    url: &str,
    stop: &mut StopSignals,
) -> anyhow::Result<()> {
    let forwarder = Forwarder::start(settings).await?;
    let counts = forwarder.counts();
    let (requests, files) = (counts.spool_requests, counts.object_files.waiting);
    tracing::info!(store = forwarder.address(), requests, files, "forwarding what waits and what comes");
    let scraper = Scraper::new(forwarder.clone(), scrape::Settings::default());
    let serving = async {
        announce(url);
        tokio::select! {
            () = config_file::apply(config, &scraper) => {}
            () = stop.next() => {}
        }
        tracing::info!("stopping: draining; what waits in the spool is sent after the next start");
        scraper.shutdown().await;
    };
    server.with_scraper(scraper.clone()).forward(forwarder.clone(), serving).await?;
    forwarder.stop().await;
    tracing::info!("stopped");
    Ok(())
}

/// Scrapes, for ever, if what is scraped can be stored.
async fn scrape_as(role: Role, config: config_file::Current, scraper: &Scraper) {
    match role {
        Role::All => config_file::apply(config, scraper).await,
        Role::Query => std::future::pending().await,
    }
}

/// A configuration that no file changes.
fn unchanging(config: Config) -> config_file::Current {
    watch::channel(Arc::new(config)).1
}

/// Whom to ask for object files, if anybody.
fn debuginfod(options: DebuginfodOptions) -> anyhow::Result<Option<Arc<Debuginfod>>> {
    if options.servers.is_empty() {
        return Ok(None);
    }
    let client = Debuginfod::new(options).context("--debuginfod-upstream-servers")?;
    Ok(Some(Arc::new(client)))
}

/// SIGTERM and SIGINT.
struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// What to scrape without a configuration: this store itself, by a token that only it knows, without TLS if it can be.
fn of_itself(bound: &[(SocketAddr, bool)], path_prefix: &str, token: &str) -> Config {
    let Some(&(address, tls)) = bound.iter().find(|(_, tls)| !tls).or_else(|| bound.first()) else {
        return Config::default();
    };
    let mut config = decima_config::self_scrape(address, path_prefix);
    for job in &mut config.scrape_configs {
        job.http_client.credentials = Some(Credentials::Authorization {
            scheme: "Bearer".to_owned(),
            credentials: Some(SecretSource::Inline(Secret::new(token))),
        });
        if tls {
            job.scheme = Scheme::Https;
            // It asks on the address that it has bound itself, and its certificate names others.
            job.http_client.tls.insecure_skip_verify = true;
        }
    }
    config
}

/// Takes the ports. With a certificate, those beyond loopback are with TLS unless they say otherwise.
async fn listen(settings: &Settings) -> anyhow::Result<Vec<Listener>> {
    let has_certificate = settings.server.tls.is_some();
    let mut listeners = Vec::new();
    for ListenAddress { tls, address } in &settings.addresses {
        let socket = bind(address).await?;
        let loopback = socket.local_addr()?.ip().to_canonical().is_loopback();
        listeners.push(Listener { socket, tls: tls.unwrap_or(has_certificate && !loopback) });
    }
    Ok(listeners)
}

/// Takes the port. Without a host, of all interfaces (both protocols where the system has both).
async fn bind(address: &Address) -> anyhow::Result<TcpListener> {
    let Address { host, port } = address;
    let bound = if host.is_empty() {
        let every: [SocketAddr; 2] =
            [(Ipv6Addr::UNSPECIFIED, *port).into(), (Ipv4Addr::UNSPECIFIED, *port).into()];
        TcpListener::bind(&every[..]).await
    } else {
        TcpListener::bind((host.as_str(), *port)).await
    };
    bound.with_context(|| format!("cannot listen on {host}:{port} (--http-address)"))
}

/// Where a browser on this machine finds the page.
fn page_url(bound: SocketAddr, tls: bool, path_prefix: &str) -> String {
    let reachable = match bound.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip,
    };
    let scheme = if tls { "https" } else { "http" };
    format!("{scheme}://{}{path_prefix}/", SocketAddr::new(reachable, bound.port()))
}

/// The one line on standard output: scripts read the address from it.
fn announce(url: &str) {
    let mut stdout = io::stdout().lock();
    if let Err(error) = writeln!(stdout, "Decima is at {url}").and_then(|()| stdout.flush()) {
        // Nobody reads it; a service goes on.
        tracing::warn!(%error, url, "cannot write the address to standard output");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_urls() {
        let check = |bound: &str, tls: bool, prefix: &str, url: &str| {
            assert_eq!(page_url(bound.parse().unwrap(), tls, prefix), url);
        };
        check("127.0.0.1:7070", false, "", "http://127.0.0.1:7070/");
        check("0.0.0.0:80", false, "/parca", "http://127.0.0.1:80/parca/");
        check("[::]:7070", true, "", "https://127.0.0.1:7070/");
        check("[::1]:7070", false, "", "http://[::1]:7070/");
    }
}
