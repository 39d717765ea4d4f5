//! containerd's CRI plugin, as a kubelet drives it: pods, and containers in them, by `crictl`. Images come from a registry on
//! loopback.

mod basics;
mod exec;
mod handlers;
mod life;
mod limits;
mod pods;
mod surroundings;

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::call::{Output, call};
use crate::containerd::{ARCHIVE, IMAGE, daemon};
use crate::scenario::{Engine, World, skip, until};

pub const ENGINE: Engine = Engine {
    name: "cri",
    program: "crictl",
    start,
    scenarios: &[&[
        basics::SCENARIOS,
        pods::SCENARIOS,
        exec::SCENARIOS,
        life::SCENARIOS,
        limits::SCENARIOS,
        surroundings::SCENARIOS,
        handlers::SCENARIOS,
    ]],
    known: &[],
};

/// The runtime's name in config.toml; a pod asks for it.
const HANDLER: &str = "corten";

/// What this machine adds to the lines for everybody: its images, its plugins, and that its root may not lower the scores that
/// the kernel chooses by when memory is short.
const MACHINE: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "127.0.0.1:5000/pause:latest"
  restrict_oom_score_adj = true
  enable_cdi = true
  cdi_spec_dirs = ["/etc/cdi"]
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "/etc/cni/net.d"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.elsewhere]
  runtime_type = "io.containerd.runc.v2"
  pod_annotations = ["org.example.*"]
  container_annotations = ["org.example.*"]
  base_runtime_spec = "/etc/containerd/base.json"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.elsewhere.options]
    BinaryName = "/usr/local/bin/corten"
    Root = "/run/elsewhere"
    NoPivotRoot = true
    NoNewKeyring = true
"#;

const STORAGE: &str = "version: 0.1
storage:
  filesystem:
    rootdirectory: /var/tmp/registry
http:
  addr: 127.0.0.1:5000
";

const CRICTL: &str = "runtime-endpoint: unix:///run/containerd/containerd.sock
image-endpoint: unix:///run/containerd/containerd.sock
timeout: 60
";

fn start(world: &World) {
    if !fs::exists("/usr/local/bin/crictl").expect("a directory") {
        skip("build.sh could not make crictl: no Go toolchain, or its module is out of reach");
    }
    let network = json!({"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge", "bridge": "cni0",
        "isGateway": true, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.0.0/16"}]]}}]});
    let _ = fs::remove_dir_all("/etc/cni/net.d");
    fs::create_dir_all("/etc/cni/net.d").expect("a directory");
    fs::write("/etc/cni/net.d/10-pods.conflist", network.to_string()).expect("a network");
    fs::write("/etc/crictl.yaml", CRICTL).expect("crictl's configuration");
    base();
    daemon::start(world, MACHINE);
    registry();
    for image in [IMAGE, "127.0.0.1:5000/pause:latest"] {
        crictl(&["pull", image]).good();
    }
}

/// Writes what containers of one handler start from.
fn base() {
    fs::create_dir_all("/etc/containerd").expect("a directory");
    let mut base: Value = serde_json::from_str(&call(&["ctr", "oci", "spec"]).good()).expect("a specification");
    base["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    fs::write("/etc/containerd/base.json", base.to_string()).expect("a file");
}

/// It ends with the machine.
static REGISTRY: Mutex<Option<Child>> = Mutex::new(None);

/// Starts the registry and fills it with both images.
fn registry() {
    fs::write("/var/tmp/registry.yml", STORAGE).expect("a configuration");
    let log = File::create("/var/log/engines/registry.log").expect("a log");
    let mut command = Command::new("docker-registry");
    command.args(["serve", "/var/tmp/registry.yml"]).stdin(Stdio::null());
    command.stdout(log.try_clone().expect("a descriptor")).stderr(log);
    *REGISTRY.lock().expect("one thread") = Some(command.spawn().expect("docker-registry"));
    until("the registry answers", 30, || std::net::TcpStream::connect("127.0.0.1:5000").is_ok());
    call(&["ctr", "images", "import", ARCHIVE]).good();
    for image in [IMAGE, "127.0.0.1:5000/pause:latest"] {
        call(&["ctr", "images", "push", "--plain-http", image]).good();
    }
}

#[track_caller]
fn crictl(words: &[&str]) -> Output {
    call(&[&["crictl"], words].concat())
}

/// Lays `more` over `base`, object by object.
fn merge(base: &mut Value, more: Value) {
    match (base, more) {
        (Value::Object(base), Value::Object(more)) => {
            for (key, value) in more {
                merge(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, more) => *base = more,
    }
}

/// A namespace that is the pod's, the container's own, the host's, or another container's (CRI's NamespaceMode).
const POD: u32 = 0;
const CONTAINER: u32 = 1;
const NODE: u32 = 2;
const TARGET: u32 = 3;

/// `linux.security_context` with this in it.
fn security(context: Value) -> Value {
    json!({"linux": {"security_context": context}})
}

/// `linux.resources` with this in it.
fn resources(limits: Value) -> Value {
    json!({"linux": {"resources": limits}})
}

/// A pod; removed with its containers at the end of the scenario.
struct Pod {
    id: String,
    file: String,
    /// What its containers are asked for besides, so that their namespaces are the pod's.
    namespaces: Value,
}

impl Pod {
    /// In the host's network: most scenarios ask nothing of one, and a bridge takes its time.
    #[track_caller]
    fn start(name: &str) -> Pod {
        Pod::with(name, security(json!({"namespace_options": {"network": NODE, "pid": CONTAINER}})))
    }

    #[track_caller]
    fn with(name: &str, more: Value) -> Pod {
        Pod::on(HANDLER, name, more)
    }

    #[track_caller]
    fn on(handler: &str, name: &str, more: Value) -> Pod {
        let mut config = json!({
            "metadata": {"name": name, "uid": name, "namespace": "default", "attempt": 1},
            "log_directory": format!("/var/log/pods/{name}"),
            "linux": {"cgroup_parent": format!("/pods/{name}"), "security_context": {"namespace_options": {"pid": CONTAINER}}},
        });
        merge(&mut config, more);
        fs::create_dir_all(format!("/var/log/pods/{name}")).expect("a directory");
        let file = format!("/var/tmp/pod-{name}.json");
        fs::write(&file, config.to_string()).expect("a file");
        let namespaces = config["linux"]["security_context"]["namespace_options"].clone();
        Pod { id: crictl(&["runp", "--runtime", handler, &file]).good(), file, namespaces }
    }

    /// A container that runs this in the shell, not started yet.
    #[track_caller]
    fn create(&self, name: &str, more: Value, script: &str) -> Container {
        self.create_words(name, more, &["sh", "-c", script])
    }

    #[track_caller]
    fn create_words(&self, name: &str, more: Value, words: &[&str]) -> Container {
        let mut config = json!({
            "metadata": {"name": name}, "image": {"image": IMAGE}, "command": words, "log_path": format!("{name}.log"),
            "linux": {"security_context": {"namespace_options": self.namespaces}},
        });
        merge(&mut config, more);
        let file = format!("/var/tmp/container-{name}.json");
        fs::write(&file, config.to_string()).expect("a file");
        Container { id: crictl(&["create", "--no-pull", &self.id, &file, &self.file]).good() }
    }

    #[track_caller]
    fn run(&self, name: &str, more: Value, script: &str) -> Container {
        let container = self.create(name, more, script);
        crictl(&["start", &container.id]).good();
        container
    }

    /// Runs it to its end, which has to be a good one; its output.
    #[track_caller]
    fn output(&self, name: &str, more: Value, script: &str) -> String {
        let container = self.run(name, more, script);
        let code = container.ended();
        let logs = container.logs();
        assert_eq!(code, 0, "{logs}");
        logs.trim_end().to_owned()
    }

    #[track_caller]
    fn inspect(&self) -> Value {
        serde_json::from_str(&crictl(&["inspectp", "--output", "json", &self.id]).good()).expect("JSON")
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        crictl(&["rmp", "--force", &self.id]);
    }
}

struct Container {
    id: String,
}

impl Container {
    #[track_caller]
    fn inspect(&self) -> Value {
        serde_json::from_str(&crictl(&["inspect", "--output", "json", &self.id]).good()).expect("JSON")
    }

    /// A word of its status.
    #[track_caller]
    fn status(&self, field: &str) -> String {
        self.inspect()["status"][field].as_str().unwrap_or_default().to_owned()
    }

    #[track_caller]
    fn pid(&self) -> String {
        self.inspect()["info"]["pid"].to_string()
    }

    /// Waits for its end; the exit code.
    #[track_caller]
    fn ended(&self) -> i64 {
        until("the container has ended", 20, || self.status("state") == "CONTAINER_EXITED");
        self.inspect()["status"]["exitCode"].as_i64().expect("a number")
    }

    /// Its output so far, stdout and stderr together.
    #[track_caller]
    fn logs(&self) -> String {
        let output = crictl(&["logs", &self.id]);
        format!("{}{}", output.stdout, output.stderr)
    }

    #[track_caller]
    fn until_it_says(&self, text: &str) {
        until(&format!("it says {text:?}"), 10, || self.logs().contains(text));
    }

    /// `crictl exec FLAGS ID sh -c SCRIPT`.
    #[track_caller]
    fn exec(&self, flags: &[&str], script: &str) -> Output {
        crictl(&[&["exec"], flags, &[&self.id, "sh", "-c", script]].concat())
    }
}
