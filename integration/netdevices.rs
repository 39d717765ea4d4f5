//! linux.netDevices: devices of the host that a container gets. They are made for each test, in a network namespace of its
//! own, which stands for the host's.

use std::process::Command;

use serde_json::{Value, json};

use crate::harness::{BundleBuilder, Case, Output, Sandbox, cases, skip};

pub const CASES: &[Case] = cases![
    a_device_comes_with_its_addresses_and_mtu_and_is_up,
    a_device_gets_the_name_that_is_asked_for,
    a_name_may_be_a_template,
    several_devices_are_moved,
    link_local_addresses_stay_behind,
    a_device_that_is_not_there_is_named,
    a_name_that_is_taken_is_an_error_and_the_device_stays,
    a_container_that_fails_later_gives_the_devices_back,
    a_device_is_gone_with_the_container,
    hooks_find_the_device_in_the_container,
    in_a_user_namespace_the_device_is_the_containers_too,
];

const IP: &str = "/usr/bin/ip";

/// A network namespace that stands for the host's; it has a name for `ip netns exec`, in the test's own mount namespace.
struct Net<'a> {
    sb: &'a Sandbox,
    pid: std::process::Child,
}

impl<'a> Net<'a> {
    fn new(sb: &'a Sandbox) -> Net<'a> {
        sb.needs_program(IP, "iproute2");
        sb.only_corten("is run in a network namespace of the test's");
        // Its standard input is closed with this value, and then it ends.
        let mut pid = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo ready; read end"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = pid.stdout.take().unwrap();
        std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).unwrap();
        assert_eq!(line, "ready\n", "no network namespace");
        Net { sb, pid }
    }

    fn target(&self) -> String {
        format!("--net=/proc/{}/ns/net", self.pid.id())
    }

    /// `ip` in there; what it prints.
    #[track_caller]
    fn ip(&self, words: &str) -> String {
        let output = Command::new("nsenter").arg(self.target()).arg(IP).args(words.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// A device without any address; its peer is `NAME-p`, and up.
    fn bare(&self, name: &str) {
        let made = format!("link add {name} mtu 1400 type veth peer name {name}-p");
        let output = Command::new("nsenter").arg(self.target()).arg(IP).args(made.split(' ')).output().unwrap();
        if !output.status.success() {
            skip(format!("this kernel has no veth: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        self.ip(&format!("link set {name}-p up"));
    }

    /// A device with an address of each kind.
    fn device(&self, name: &str, number: u8) {
        self.bare(name);
        self.ip(&format!("address add 10.77.{number}.1/24 brd + dev {name}"));
        self.ip(&format!("address add fd77:{number}::1/64 nodad dev {name}"));
        self.ip(&format!("link set {name} up"));
    }

    fn run(&self, bundle: BundleBuilder) -> Output {
        let target = self.target();
        self.sb.run_with(&bundle.build(), |call| call.under(&["nsenter", &target]))
    }
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        drop(self.pid.stdin.take());
        let _ = self.pid.wait();
    }
}

/// A bundle whose program tells of the devices in it, by the host's `ip`, and which gets these devices.
fn with_devices<'a>(sb: &'a Sandbox, devices: Value) -> BundleBuilder<'a> {
    let bundle = sb.bundle().bind("/usr".as_ref(), "/usr", &["ro"]).set("/linux/netDevices", devices);
    let bundle = ["lib", "lib64"].into_iter().fold(bundle, |bundle, dir| bundle.symlink(dir, format!("usr/{dir}")));
    bundle.args([IP, "-json", "address"])
}

fn found<'a>(links: &'a Value, name: &str) -> &'a Value {
    let found = links.as_array().unwrap().iter().find(|link| link["ifname"] == name);
    found.unwrap_or_else(|| panic!("no {name}: {links}"))
}

fn addresses(link: &Value, scope: &str) -> Vec<String> {
    let all = link["addr_info"].as_array().unwrap().iter().filter(|address| address["scope"] == scope);
    all.map(|address| format!("{}/{}", address["local"].as_str().unwrap(), address["prefixlen"])).collect()
}

fn is_up(link: &Value) -> bool {
    link["flags"].as_array().unwrap().contains(&json!("UP"))
}

fn a_device_comes_with_its_addresses_and_mtu_and_is_up(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    let hardware = net.ip("-json link show dev0");
    let links = net.run(with_devices(sb, json!({"dev0": {}}))).ok().json();
    let link = found(&links, "dev0");
    assert_eq!(addresses(link, "global"), ["10.77.1.1/24", "fd77:1::1/64"]);
    assert_eq!((&link["mtu"], is_up(link)), (&json!(1400), true));
    assert_eq!(link["addr_info"][0]["broadcast"], "10.77.1.255");
    let before: Value = serde_json::from_str(&hardware).unwrap();
    assert_eq!(link["address"], before[0]["address"], "the hardware address");
}

fn a_device_gets_the_name_that_is_asked_for(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    let links = net.run(with_devices(sb, json!({"dev0": {"name": "eth0"}}))).ok().json();
    assert_eq!(addresses(found(&links, "eth0"), "global"), ["10.77.1.1/24", "fd77:1::1/64"]);
    assert_eq!(links.as_array().unwrap().len(), 2, "lo and it: {links}");
}

fn a_name_may_be_a_template(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("one", 1);
    net.device("two", 2);
    let links = net.run(with_devices(sb, json!({"one": {"name": "c%d"}, "two": {"name": "c%d"}}))).ok().json();
    assert_eq!(addresses(found(&links, "c0"), "global")[0], "10.77.1.1/24");
    assert_eq!(addresses(found(&links, "c1"), "global")[0], "10.77.2.1/24");
}

fn several_devices_are_moved(sb: &Sandbox) {
    let net = Net::new(sb);
    net.bare("left");
    net.device("dev0", 1);
    net.bare("never");
    let links = net.run(with_devices(sb, json!({"left": {}, "left-p": {}, "dev0": {"name": "x"}}))).ok().json();
    for name in ["left", "left-p", "x"] {
        assert!(is_up(found(&links, name)), "{name}");
    }
    assert!(net.ip("link").contains("never"), "what nobody asked for stays");
}

fn link_local_addresses_stay_behind(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    net.ip("address add 169.254.7.7/16 scope link dev dev0");
    net.ip("address add 10.77.9.9/24 dev dev0 valid_lft 1000 preferred_lft 1000");
    let links = net.run(with_devices(sb, json!({"dev0": {}}))).ok().json();
    let link = found(&links, "dev0");
    assert_eq!(addresses(link, "global"), ["10.77.1.1/24", "fd77:1::1/64"]);
    assert!(!addresses(link, "link").contains(&"169.254.7.7/16".to_owned()));
}

fn a_device_that_is_not_there_is_named(sb: &Sandbox) {
    let net = Net::new(sb);
    let output = net.run(with_devices(sb, json!({"dev0": {}})));
    output.fails_with(&["linux.netDevices.dev0: move network device dev0", "netlink(RTM_GETLINK): No such device"]);
    sb.assert_nothing_left();
}

fn a_name_that_is_taken_is_an_error_and_the_device_stays(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    net.device("dev1", 2);
    // The first of them is there already when the second fails.
    let output = net.run(with_devices(sb, json!({"dev0": {}, "dev1": {"name": "lo"}})));
    output.fails_with(&["linux.netDevices.dev1", "File exists"]);
    for (name, address) in [("dev0", "10.77.1.1/24"), ("dev1", "10.77.2.1/24")] {
        let text = net.ip(&format!("address show {name}"));
        assert!(text.contains(address) && text.contains("UP") && text.contains("mtu 1400"), "{text}");
    }
    sb.assert_nothing_left();
}

fn a_container_that_fails_later_gives_the_devices_back(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    net.bare("down0");
    let devices = json!({"dev0": {"name": "eth0"}, "down0": {"name": "d%d"}});
    let hook = json!({"path": "/bin/false"});
    for bundle in [
        with_devices(sb, devices.clone()).hook("createRuntime", hook),
        with_devices(sb, devices.clone()).args(["/nonexist"]),
    ] {
        net.run(bundle).fails();
        let text = net.ip("address show dev0");
        for words in ["10.77.1.1/24", "fd77:1::1/64", "UP", "mtu 1400"] {
            assert!(text.contains(words), "{words}: {text}");
        }
        assert!(net.ip("link show down0").contains("state DOWN"));
    }
    // And one whose pid can't be told, after all went well.
    let bundle = with_devices(sb, devices).build();
    let target = net.target();
    let output =
        sb.run_with(&bundle, |call| call.under(&["nsenter", &target]).args(["-d", "--pid-file", "/no/such/pid"]));
    output.fails_with(&["write the pid file /no/such/pid"]);
    assert!(net.ip("address show dev0").contains("10.77.1.1/24"));
    sb.assert_nothing_left();
}

fn a_device_is_gone_with_the_container(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    net.run(with_devices(sb, json!({"dev0": {}}))).ok();
    // The kernel takes a namespace down behind the scenes.
    crate::killing::wait_until("the device goes", || !net.ip("link").contains("dev0"));
}

fn hooks_find_the_device_in_the_container(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    let file = sb.path("links");
    let script = format!("{IP} link > {}", file.display());
    let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script]});
    net.run(with_devices(sb, json!({"dev0": {"name": "eth7"}})).hook("createContainer", hook)).ok();
    assert!(std::fs::read_to_string(file).unwrap().contains("eth7"));
}

fn in_a_user_namespace_the_device_is_the_containers_too(sb: &Sandbox) {
    let net = Net::new(sb);
    net.device("dev0", 1);
    let links = net.run(with_devices(sb, json!({"dev0": {"name": "eth0"}})).user_namespace()).ok().json();
    assert_eq!(addresses(found(&links, "eth0"), "global"), ["10.77.1.1/24", "fd77:1::1/64"]);
}
