//! A pod of the charm: a root filesystem with the store as `/parca`, and a Pebble that runs it there.

use std::{
    env, fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use decima_juju::pebble::Pebble;
use decima_juju_fake::{Agent, Event, Model, Outcome, hook_tools_example, pebble::FakePebble};
use tempfile::TempDir;

/// What runs the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Daemon {
    /// The real one.
    Pebble,
    /// The one for tests, which keeps files and plan to itself; the pod does what they say.
    Simulated,
}

/// Time for anything that shall happen by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asks until it is so.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let started = Instant::now();
    loop {
        match ask() {
            Ok(found) => return found,
            Err(_) if started.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(100)),
            Err(last) => panic!("{what}: {last}"),
        }
    }
}

/// A program that a variable names, by an absolute path.
pub(crate) fn program(variable: &str) -> PathBuf {
    let named = env::var_os(variable);
    named.unwrap_or_else(|| panic!("{variable} is not set; run cargo xtask test --only system")).into()
}

enum Runner {
    Pebble(Child),
    Simulated { pebble: FakePebble, service: Option<Child>, starts: u64 },
}

/// The unit `parca-k8s/0`, which leads, with its container.
pub(crate) struct Pod {
    pub(crate) agent: Agent,
    runner: Runner,
    folder: TempDir,
}

impl Pod {
    pub(crate) fn new(daemon: Daemon) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Agent::new(folder.path(), &Model::new("parca-k8s/0")).unwrap();
        let agent = agent.with_tools(&hook_tools_example("hook-tools").unwrap()).unwrap();
        let root = folder.path().join("rootfs");
        root_filesystem(&root);
        let socket = folder.path().join("containers/parca/pebble.socket");
        fs::create_dir_all(socket.parent().unwrap()).unwrap();
        let runner = match daemon {
            Daemon::Pebble => Runner::Pebble(start_pebble(&root, &socket)),
            Daemon::Simulated => {
                Runner::Simulated { pebble: FakePebble::start(&socket).unwrap(), service: None, starts: 0 }
            }
        };
        Self { agent, runner, folder }
    }

    /// A file of the container, as it is outside.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.folder.path().join("rootfs").join(path.trim_start_matches('/'))
    }

    /// Runs the charm for an event, which has to end well. Gives the status of the unit.
    pub(crate) fn hook(&mut self, event: Event) -> String {
        let outcome = self.run(event);
        assert_eq!((outcome.code, outcome.stderr.as_str()), (Some(0), ""));
        let status = self.agent.model().unwrap().unit_status;
        format!("{}: {}", status.status, status.message)
    }

    /// Runs the charm for an event.
    pub(crate) fn run(&mut self, event: Event) -> Outcome {
        let containers = self.folder.path().join("containers");
        let event = event.var("DECIMA_CHARM_CONTAINERS", &containers.display().to_string());
        let outcome = self.agent.run(&event, &mut Command::new(env!("CARGO_BIN_EXE_dispatch"))).unwrap();
        self.follow();
        outcome
    }

    /// With a simulated Pebble: does what it was told.
    fn follow(&mut self) {
        let root = self.folder.path().join("rootfs");
        let Runner::Simulated { pebble, service, starts } = &mut self.runner else { return };
        let etc = root.join("etc/parca");
        let _ = fs::remove_dir_all(&etc);
        for (path, (content, permissions)) in pebble.files() {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            let permissions = u32::from_str_radix(&permissions, 8).unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(permissions)).unwrap();
        }
        if pebble.starts("parca") != *starts {
            *starts = pebble.starts("parca");
            end(service.take());
            let plan = &pebble.plan()["services"]["parca"];
            let mut chroot = Command::new("chroot");
            chroot.arg(&root).args(plan["command"].as_str().unwrap().split(' '));
            let variables = plan["environment"].as_object().into_iter().flatten();
            chroot.envs(variables.map(|(name, value)| (name, value.as_str().unwrap())));
            *service = Some(chroot.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap());
        }
    }

    /// Another unit joins an endpoint, or its application says something.
    pub(crate) fn related(
        &mut self,
        number: u64,
        endpoint: &str,
        app: &str,
        said: &[(&str, &str)],
        change: &str,
    ) -> String {
        let unit = format!("{app}/0");
        self.agent
            .change(|model| {
                if !model.relations.contains_key(&number) {
                    model.relate(number, endpoint, app, &[&unit]);
                }
                let relation = model.relations.get_mut(&number).unwrap();
                for (key, value) in said {
                    relation.remote_app_bag.insert((*key).to_owned(), (*value).to_owned());
                }
            })
            .unwrap();
        let event = Event::relation(endpoint, number, change, app);
        self.hook(if change == "created" { event } else { event.unit(&unit) })
    }

    /// A relation is removed: its unit departs, it breaks, and it is gone.
    pub(crate) fn unrelated(&mut self, number: u64) {
        let relation = self.agent.model().unwrap().relations[&number].clone();
        let unit = format!("{}/0", relation.remote_app);
        let event = |change: &str| Event::relation(&relation.endpoint, number, change, &relation.remote_app);
        self.agent.change(|model| model.relations.get_mut(&number).unwrap().units.clear()).unwrap();
        self.hook(event("departed").unit(&unit).departing(&unit));
        self.hook(event("broken"));
        self.agent.change(|model| drop(model.relations.remove(&number))).unwrap();
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        match &mut self.runner {
            Runner::Pebble(child) => {
                let _ = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
                let _ = child.wait();
            }
            Runner::Simulated { service, .. } => end(service.take()),
        }
    }
}

fn end(child: Option<Child>) {
    if let Some(mut child) = child {
        let _ = Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status();
        let _ = child.wait();
    }
}

/// What the image holds, and the libraries of a program that is not static, where it looks for them.
fn root_filesystem(root: &Path) {
    for folder in ["etc", "root", "run", "tmp", "var/lib/parca", "var/lib/pebble"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/sbin/nologin\n").unwrap();
    fs::write(root.join("etc/group"), "root:x:0:\n").unwrap();
    fs::copy("/etc/hosts", root.join("etc/hosts")).unwrap();
    // The store does not start without authorities to trust when it looks for symbols elsewhere.
    let authorities = "etc/ssl/certs/ca-certificates.crt";
    fs::create_dir_all(root.join("etc/ssl/certs")).unwrap();
    fs::copy(Path::new("/").join(authorities), root.join(authorities)).unwrap();
    let store = program("DECIMA_BINARY");
    fs::copy(&store, root.join("parca")).unwrap();
    let libraries = Command::new("ldd").arg(&store).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
        let place = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(place.parent().unwrap()).unwrap();
        fs::copy(library, place).unwrap();
    }
}

/// Starts the daemon in the root filesystem, as Juju does with every container's.
fn start_pebble(root: &Path, socket: &Path) -> Child {
    fs::copy(program("DECIMA_PEBBLE"), root.join("pebble")).unwrap();
    // All that the daemon asks of the system's files.
    let boot_id = "proc/sys/kernel/random/boot_id";
    fs::create_dir_all(root.join("proc/sys/kernel/random")).unwrap();
    fs::write(root.join(boot_id), fs::read(Path::new("/").join(boot_id)).unwrap()).unwrap();
    fs::create_dir_all(root.join("dev")).unwrap();
    fs::write(root.join("dev/null"), "").unwrap();
    symlink(root.join("run/pebble.socket"), socket).unwrap();
    let child = Command::new("chroot")
        .arg(root)
        .args(["/pebble", "run", "--create-dirs", "--hold"])
        .env("PEBBLE", "/var/lib/pebble")
        .env("PEBBLE_SOCKET", "/run/pebble.socket")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the daemon answers", || Pebble::at(socket).system().map_err(|error| error.to_string()));
    child
}
