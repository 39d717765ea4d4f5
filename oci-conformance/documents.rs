//! The documents that corten writes, judged by those who specify them: its configs by `oci-runtime-tool validate` and by the
//! JSON schema of runtime-spec, its states and features by their schemas. programs.sh built the judges from the same modules.
//!
//! It runs where the validation programs run, with the same surroundings (stage.rs: `RUNTIME`, an empty directory, control
//! groups of its own), and prints what they print.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The name under which the results stand beside those of the programs.
pub const NAME: &str = "documents";

/// `corten spec` in all its forms; `--from` needs a container, see `configs`.
const FORMS: &[&[&str]] = &[&[], &["--rootless"], &["--with-rootfs"], &["--rootless", "--with-rootfs"]];
/// The hooks, with the status that the container has when they are called (runtime.md, Lifecycle and State).
const HOOKS: &[(&str, &str)] = &[
    ("prestart", "created"),
    ("createRuntime", "creating"),
    ("createContainer", "creating"),
    ("startContainer", "created"),
    ("poststart", "running"),
    ("poststop", "stopped"),
];
const SCHEMAS: &[&str] = &["config", "state", "features"];

type Outcome = Result<(), String>;

struct Checks {
    built: PathBuf,
    schemas: PathBuf,
    runtime: String,
    count: usize,
}

/// `--documents BUILT`, in the place of a program.
pub fn main(arguments: &[String]) -> ExitCode {
    let (Some(built), Ok(runtime)) = (arguments.first(), std::env::var("RUNTIME")) else { return ExitCode::from(2) };
    let built = PathBuf::from(built);
    let schemas = fs::read_dir(built.join("schema")).into_iter().flatten().flatten().next();
    let Some(schemas) = schemas.map(|item| item.path()) else { return ExitCode::from(2) };
    let mut checks = Checks { built, schemas, runtime, count: 0 };
    println!("TAP version 13");
    checks.judges();
    checks.features();
    checks.configs();
    checks.states();
    println!("1..{}", checks.count);
    ExitCode::SUCCESS
}

impl Checks {
    fn say(&mut self, name: &str, outcome: Outcome) {
        self.count += 1;
        match outcome {
            Ok(()) => println!("ok {} - {name}", self.count),
            Err(why) => {
                println!("not ok {} - {name}", self.count);
                let lines = why.lines().map(|line| line.trim().trim_start_matches("* "));
                let count = |line: &str| line.ends_with("error occurred:") || line.ends_with("errors occurred:");
                lines.filter(|line| !line.is_empty() && !count(line)).for_each(|line| println!("# {line}"));
            }
        }
    }

    /// The judges themselves: they know a good document of each kind from a bad one.
    fn judges(&mut self) {
        for schema in SCHEMAS {
            for (kind, good) in [("good", true), ("bad", false)] {
                let outcome = self.examples(schema, kind, good);
                self.say(&format!("the schema of {schema} knows the {kind} examples of runtime-spec"), outcome);
            }
        }
        let state = json!({ "ociVersion": "1.3.0", "id": "it", "status": "running", "pid": 1, "bundle": "/b" });
        let outcome = self.fits("state", &state);
        self.say("a whole state is taken", outcome);
        for (key, value) in [("id", None), ("pid", Some(json!("1"))), ("status", Some(json!("asleep")))] {
            let mut broken = state.clone();
            match value {
                Some(value) => broken[key] = value,
                None => _ = broken.as_object_mut().and_then(|state| state.remove(key)),
            }
            let outcome = refused(self.fits("state", &broken), key);
            self.say(&format!("a state with a broken {key} is refused"), outcome);
        }
        let outcome = self.bundle("broken", &[]).and_then(|bundle| {
            change(&bundle, |config| config["process"]["cwd"] = json!("not/absolute"))?;
            refused(self.valid(&bundle), "cwd")
        });
        self.say("oci-runtime-tool refuses a broken bundle", outcome);
    }

    fn examples(&self, schema: &str, kind: &str, good: bool) -> Outcome {
        let dir = self.schemas.join("test").join(schema).join(kind);
        let examples: Vec<PathBuf> =
            fs::read_dir(&dir).map_err(|e| e.to_string())?.flatten().map(|i| i.path()).collect();
        for example in &examples {
            match self.judge(schema, example) {
                Err(why) if good => return Err(format!("{}: {why}", example.display())),
                Ok(()) if !good => return Err(format!("{} was taken", example.display())),
                _ => {}
            }
        }
        if examples.is_empty() { Err("there are none".to_owned()) } else { Ok(()) }
    }

    fn features(&mut self) {
        let outcome = self.json(&["features"]).and_then(|features| self.fits("features", &features));
        self.say("what `features` prints fits its schema", outcome);
    }

    fn configs(&mut self) {
        for (i, form) in FORMS.iter().enumerate() {
            let bundle = self.bundle(&format!("spec-{i}"), form);
            self.config(["`spec", &form.join(" ")].join(" ").trim_end(), bundle);
        }
        let from = || {
            let bundle = self.bundle("origin", &["--with-rootfs"])?;
            self.run(&["create", "--bundle", &bundle.display().to_string(), "origin"])?;
            // It names the root file system of the container, so the bundle that it fits into is the container's own.
            let config = self.json(&["spec", "--from", "origin", "--file", "-"]);
            self.run(&["delete", "--force", "origin"])?;
            let config = config?;
            change(&bundle, |own| *own = config)?;
            Ok(bundle)
        };
        let bundle = from();
        self.config("`spec --from ID", bundle);
    }

    fn config(&mut self, form: &str, bundle: Result<PathBuf, String>) {
        let judged = |judge: &dyn Fn(&Path) -> Outcome| bundle.clone().and_then(|bundle| judge(&bundle));
        let fits = judged(&|bundle| self.judge("config", &bundle.join("config.json")));
        let valid = judged(&|bundle| self.valid(bundle));
        self.say(&format!("the config of {form}` fits its schema"), fits);
        self.say(&format!("the bundle of {form}` is valid for oci-runtime-tool"), valid);
    }

    /// The life of one container, from the states that its hooks get to the last one.
    fn states(&mut self) {
        let made = self.with_hooks();
        let created = made.as_ref().map_err(String::clone).and_then(|()| self.state_is("created"));
        self.say("the state of a created container fits its schema", created);
        let running = self.run(&["start", "it"]).and_then(|()| self.state_is("running"));
        self.say("the state of a running container fits its schema", running);
        // The schema lists the four values of the specification, which lets a runtime define more (runtime.md, State).
        let paused = self.run(&["pause", "it"]).and_then(|()| self.state()).and_then(|mut state| {
            let status = state["status"].clone();
            refused(self.fits("state", &state), "status")?;
            state["status"] = json!("running");
            self.fits("state", &state)?;
            if status == "paused" { Ok(()) } else { Err(format!("its status is {status}")) }
        });
        self.say("the state of a paused container fits its schema but for the additional status", paused);
        let stopped = self
            .run(&["resume", "it"])
            .and_then(|()| self.run(&["kill", "it", "KILL"]))
            .and_then(|()| self.ended())
            .and_then(|()| self.state_is("stopped"));
        self.say("the state of a stopped container fits its schema", stopped);
        let deleted = self.run(&["delete", "it"]);
        for (hook, status) in HOOKS {
            let read = || {
                deleted.clone()?;
                let text = fs::read(state_of(hook)).map_err(|error| format!("{}: {error}", state_of(hook)))?;
                self.is(&serde_json::from_slice(&text).map_err(|error| error.to_string())?, status)
            };
            let outcome = read();
            self.say(&format!("the state that a {hook} hook gets fits its schema"), outcome);
        }
    }

    /// Creates the container `it`, whose hooks write down what they read.
    fn with_hooks(&self) -> Outcome {
        let bundle = self.bundle("it", &[])?;
        let archive = crate::stage::archive();
        self.command(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(bundle.join("rootfs")))?;
        let here = std::env::current_dir().map_err(|error| error.to_string())?;
        change(&bundle, |config| {
            config["process"]["args"] = json!(["/bin/sleep", "1000"]);
            config["process"]["terminal"] = json!(false);
            config["root"]["readonly"] = json!(false);
            config["annotations"] = json!({ "org.example.key": "value" });
            for (hook, _) in HOOKS {
                // This one runs in the container, where the root file system is the whole world.
                let file = match *hook {
                    "startContainer" => "/startContainer.json".to_owned(),
                    hook => here.join(state_of(hook)).display().to_string(),
                };
                let args = ["sh", "-c", "cat > \"$0\"", &file];
                config["hooks"][hook] = json!([{ "path": "/bin/sh", "args": args, "env": ["PATH=/usr/bin:/bin"] }]);
            }
        })?;
        self.run(&["create", "--bundle", &bundle.display().to_string(), "it"])
    }

    fn state(&self) -> Result<Value, String> {
        self.json(&["state", "it"])
    }

    fn state_is(&self, status: &str) -> Outcome {
        self.is(&self.state()?, status)
    }

    fn is(&self, state: &Value, status: &str) -> Outcome {
        self.fits("state", state)?;
        if state["status"] == status { Ok(()) } else { Err(format!("its status is {}", state["status"])) }
    }

    /// Waits until the container that was killed has ended.
    fn ended(&self) -> Outcome {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.state()?["status"] != "stopped" {
            if Instant::now() > deadline {
                return Err("it doesn't end".to_owned());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// A new bundle with the config that `spec` writes in this form, and a place for its root file system.
    fn bundle(&self, name: &str, form: &[&str]) -> Result<PathBuf, String> {
        let bundle = std::env::current_dir().map_err(|error| error.to_string())?.join("tmp").join(name);
        fs::create_dir_all(&bundle).map_err(|error| error.to_string())?;
        self.run(&[&["spec", "--bundle", &bundle.display().to_string()], form].concat())?;
        // Written for whoever brings a root file system: without one there is no bundle to judge yet.
        fs::create_dir_all(bundle.join("rootfs")).map_err(|error| error.to_string())?;
        Ok(bundle)
    }

    /// Every rule counts, those that the specification has as SHOULD and MAY too.
    fn valid(&self, bundle: &Path) -> Outcome {
        let mut tool = Command::new(self.built.join("oci-runtime-tool"));
        tool.args(["--compliance-level", "may", "--host-specific", "validate", "--path"]).arg(bundle);
        self.command(&mut tool)
    }

    fn fits(&self, schema: &str, document: &Value) -> Outcome {
        fs::write("document.json", document.to_string()).map_err(|error| error.to_string())?;
        self.judge(schema, Path::new("document.json"))
    }

    fn judge(&self, schema: &str, document: &Path) -> Outcome {
        let mut judge = Command::new(self.built.join("validate"));
        self.command(judge.arg(self.schemas.join(format!("{schema}-schema.json"))).arg(document))
    }

    /// Runs corten; a container keeps what it inherits, so nobody waits for the end of a pipe.
    fn run(&self, arguments: &[&str]) -> Outcome {
        let said = fs::File::create("said.txt").map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.runtime);
        let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let status = command.status().map_err(|error| error.to_string())?;
        let said = fs::read_to_string("said.txt").unwrap_or_default();
        if status.success() { Ok(()) } else { Err(format!("{}: {status}: {said}", arguments.join(" "))) }
    }

    fn json(&self, arguments: &[&str]) -> Result<Value, String> {
        let output = Command::new(&self.runtime).args(arguments).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }

    fn command(&self, command: &mut Command) -> Outcome {
        let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).into_owned()) }
    }
}

/// Where a hook writes what it was given, seen from the place.
fn state_of(hook: &str) -> String {
    match hook {
        "startContainer" => "tmp/it/rootfs/startContainer.json".to_owned(),
        hook => format!("{hook}.json"),
    }
}

fn change(bundle: &Path, with: impl FnOnce(&mut Value)) -> Outcome {
    let path = bundle.join("config.json");
    let text = fs::read(&path).map_err(|error| error.to_string())?;
    let mut config: Value = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
    with(&mut config);
    fs::write(&path, config.to_string()).map_err(|error| error.to_string())
}

/// That something was refused, and for this alone.
fn refused(outcome: Outcome, because: &str) -> Outcome {
    let Err(why) = outcome else { return Err("it was taken".to_owned()) };
    let complaints = why.lines().filter(|line| line.trim_start().starts_with(['-', '*'])).count();
    if complaints == 1 && why.contains(because) { Ok(()) } else { Err(why) }
}
