//! The charm, the store and a charm of the Python library together, in what a pod has for itself: a network, a host name
//! and a hosts file.

use std::{fs, path::Path};

use super::{count, oracles, product, scratch::Scratch, skip};
use crate::{
    process::{Step, have},
    tally::Tally,
};

/// Names that the pod's unit and its service have in a cluster.
const HOSTS: &str = "127.0.0.1 localhost
127.0.0.2 parca-k8s-0.parca-k8s-endpoints.cos.svc.cluster.local parca-k8s-0
127.0.0.3 parca-k8s.cos.svc.cluster.local
127.0.0.4 remote.elsewhere.svc.cluster.local
";
/// In namespaces of its own: names, a network in which loopback is up, then what is to run.
const POD: &str = r#"
hostname parca-k8s-0
mount --bind "$1" /etc/hosts
ip link set lo up
shift
exec "$@"
"#;

/// Runs the tests of the whole.
pub(super) fn run() -> anyhow::Result<Tally> {
    for program in ["python3", "unshare", "ip", "chroot"] {
        if !have(program) {
            return Ok(skip(&format!("{program} is not here")));
        }
    }
    if !pod(Path::new("/etc/hosts")).arg("true").succeeds() {
        return Ok(skip("this machine gives no namespaces"));
    }
    let scratch = Scratch::new("system")?;
    let hosts = scratch.path().join("hosts");
    fs::write(&hosts, HOSTS)?;
    let here = std::env::current_dir()?;
    let absolute = |path: &str| here.join(path).display().to_string();
    let python = absolute(&oracles::python_with_ops()?);
    // All packages, so that it is the build of the other steps, and before the network is gone.
    let test = ["test", "--workspace", "--quiet", "--offline", "--test", "system"];
    Step::new("cargo").args(["build", "--workspace", "--quiet", "--example", "hook-tools"]).run()?;
    Step::new("cargo").args(["test", "--workspace", "--quiet", "--test", "system", "--no-run"]).run()?;
    let mut step = pod(&hosts).arg("cargo").args(test).args(["--", "--test-threads=1"]);
    step = step.env("DECIMA_BINARY", &absolute(&product::binary())).env("DECIMA_PYTHON_OPS", &python);
    match super::pebble_daemon()? {
        Some(daemon) => step = step.env("DECIMA_PEBBLE", &daemon).env("DECIMA_AGENT", &agent()?),
        None => step = step.arg("simulated::"),
    }
    count(step)
}

/// Builds what Parca Agent connects with.
fn agent() -> anyhow::Result<String> {
    let output = std::env::current_dir()?.join("target/parca-agent/connection").display().to_string();
    Step::new("go")
        .args(["build", "-mod=mod", "-o", &output, "."])
        .env("CGO_ENABLED", "0")
        .within(Path::new("crates/charm/tests/system/agent"))
        .run()?;
    Ok(output)
}

fn pod(hosts: &Path) -> Step {
    Step::new("unshare")
        .args(["--map-root-user", "--net", "--uts", "--mount", "sh", "-e", "-c", POD, "pod"])
        .arg(hosts)
}
