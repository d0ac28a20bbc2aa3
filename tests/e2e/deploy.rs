//! Examples in `deploy/`: they are valid, and as safe as their comments say.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use toml::Table;

#[test]
fn the_units_are_valid() {
    let units = tempfile::tempdir().unwrap();
    let Some(output) = systemd_analyze(units.path(), &["verify", "--man=no"]) else {
        return skipped("the units are valid", "systemd-analyze is not installed");
    };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_version_is_the_same_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, line) in [
        ("Containerfile", format!("org.opencontainers.image.version=\"{version}\"")),
        ("compose.yaml", format!("image: backsoon:{version}")),
        ("kubernetes.yaml", format!("image: backsoon:{version}")),
        ("helm/Chart.yaml", format!("version: {version}")),
        ("helm/Chart.yaml", format!("appVersion: \"{version}\"")),
        ("helm/README.md", format!("name: backsoon, version: {version}")),
    ] {
        assert!(read(file).contains(&line), "deploy/{file} lacks {line}");
    }
}

#[test]
fn the_service_is_hardened() {
    let units = tempfile::tempdir().unwrap();
    // In tenths of systemd's exposure level, where 0 is best. The rest is network access, which the service needs.
    let arguments = ["security", "--offline=true", "--no-pager", "--threshold=15"];
    let Some(output) = systemd_analyze(units.path(), &arguments) else {
        return skipped("the service is hardened", "systemd-analyze is not installed");
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_service_is_told_about_as_its_comments_say() {
    let unit = read("backsoon.service");
    let has = |line: &str| assert!(unit.lines().any(|found| found == line), "{line} is missing");
    for line in [
        "Type=notify",
        "WatchdogSec=10s",
        "ExecReload=/bin/kill -HUP $MAINPID",
        "RestartPreventExitStatus=64",
        "Requires=backsoon.socket",
        "DynamicUser=yes",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "ReadOnlyPaths=/etc/backsoon",
        "SystemCallFilter=@system-service",
    ] {
        has(line);
    }
}

#[test]
fn the_service_may_drain_before_it_is_killed() {
    let config: Table = read("backsoon.toml").parse().unwrap();
    let drain = seconds(config["drain"].as_str().unwrap());
    let unit = read("backsoon.service");
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).map(seconds).unwrap();
    assert!(stop >= drain + 30, "stopping is cut off after {stop} s, draining takes {drain} s");
}

#[test]
fn every_socket_of_the_unit_is_one_that_the_config_listens_on() {
    let config: Table = read("backsoon.toml").parse().unwrap();
    let listened: Vec<_> =
        config["listen"].as_array().unwrap().iter().map(|listen| listen["address"].as_str().unwrap()).collect();
    let socket = read("backsoon.socket");
    let opened: Vec<_> = socket.lines().filter_map(|line| line.strip_prefix("ListenStream=")).collect();
    assert!(!opened.is_empty());
    for address in opened {
        assert!(listened.contains(&address), "{address} is not in {listened:?}");
    }
}

#[test]
fn the_admin_listener_of_the_example_is_local() {
    let config: Table = read("backsoon.toml").parse().unwrap();
    let admin = config["admin"]["address"].as_str().unwrap();
    assert!(admin.parse::<std::net::SocketAddr>().unwrap().ip().is_loopback());
}

#[test]
fn the_examples_are_toml_with_their_comments_taken_away_too() {
    for name in ["backsoon.toml", "maintenance.toml"] {
        let text = read(name);
        text.parse::<Table>().unwrap_or_else(|e| panic!("{name}: {e}"));
        let switched_on = uncommented(&text);
        let table = switched_on.parse::<Table>().unwrap_or_else(|e| panic!("{name}, uncommented: {e}\n{switched_on}"));
        assert!(table.len() >= 2, "{name}: {table:?}");
    }
}

#[test]
fn check_accepts_the_examples_without_a_remark() {
    assert_eq!(check(&root().join("deploy/backsoon.toml")), "ok: 1 route, 1 listener; no route is flagged now");
    let mounted = tempfile::tempdir().unwrap();
    let all = documents();
    let file = |name: &str| all.iter().find_map(|document| document["data"][name].as_str()).unwrap();
    let config = file("backsoon.toml").replace("/etc/backsoon-flags/", "");
    fs::write(mounted.path().join("backsoon.toml"), config).unwrap();
    fs::write(mounted.path().join("maintenance.toml"), file("maintenance.toml")).unwrap();
    check(&mounted.path().join("backsoon.toml"));
}

#[test]
fn check_accepts_the_examples_with_their_comments_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["backsoon.toml", "maintenance.toml"] {
        // No certificate exists here.
        let text = uncommented(&read(name));
        let kept = text.lines().filter(|line| !line.starts_with("tls =")).collect::<Vec<_>>().join("\n");
        fs::write(dir.path().join(name), kept).unwrap();
    }
    fs::create_dir(dir.path().join("pages")).unwrap();
    fs::write(dir.path().join("logo.svg"), "<svg xmlns=\"http://www.w3.org/2000/svg\"/>").unwrap();
    assert!(check(&dir.path().join("backsoon.toml")).starts_with("ok: 2 routes, 2 listeners"));
}

#[test]
fn the_flag_file_as_shipped_flags_nothing() {
    let flags: Table = read("maintenance.toml").parse().unwrap();
    assert!(flags["routes"].as_table().unwrap().is_empty());
    assert_eq!(flags.len(), 1);
}

#[test]
fn no_config_map_is_mounted_by_sub_path() {
    let pod = pod();
    for container in containers(&pod) {
        for mount in container["volumeMounts"].as_array().into_iter().flatten() {
            assert!(mount.get("subPath").is_none() && mount.get("subPathExpr").is_none(), "{mount}");
            assert_eq!(mount["readOnly"], true, "{mount}");
            let volume = named(&pod["spec"]["volumes"], &mount["name"]);
            // `items` could rename a key, and the file would not be where the config says.
            assert!(volume["configMap"]["name"].is_string() && volume["configMap"].get("items").is_none(), "{volume}");
        }
    }
}

#[test]
fn the_config_finds_the_flag_file_where_it_is_mounted() {
    let (pod, all) = (pod(), documents());
    let backsoon = backsoon(&pod);
    let mounted = |file: &str| {
        let path = Path::new(file);
        let directory = path.parent().unwrap().to_str().unwrap();
        let mounts = backsoon["volumeMounts"].as_array().unwrap();
        let mount = mounts.iter().find(|mount| mount["mountPath"] == directory).unwrap();
        let map = &named(&pod["spec"]["volumes"], &mount["name"])["configMap"]["name"];
        let map = all.iter().find(|d| d["kind"] == "ConfigMap" && d["metadata"]["name"] == *map).unwrap();
        map["data"][path.file_name().unwrap().to_str().unwrap()].as_str().unwrap().to_owned()
    };
    let arguments = backsoon["args"].as_array().unwrap();
    let config: Table = mounted(arguments.last().unwrap().as_str().unwrap()).parse().unwrap();
    let flags: Table = mounted(config["maintenance"].as_str().unwrap()).parse().unwrap();
    assert!(flags["routes"].as_table().unwrap().is_empty());
    assert!(config["listen"][0]["address"].as_str().unwrap().ends_with(&format!(":{}", port(backsoon, "gate"))));
    assert!(config["admin"]["address"].as_str().unwrap().ends_with(&format!(":{}", port(backsoon, "admin"))));
    // The app sits behind the gate.
    let app = named(&pod["spec"]["containers"], &Value::from("app"));
    assert!(config["routes"]["web"]["upstream"].as_str().unwrap().ends_with(&format!(":{}", port(app, "app"))));
}

#[test]
fn no_probe_goes_through_the_gate() {
    let pod = pod();
    for container in containers(&pod) {
        let expected = if container["name"] == "backsoon" { "admin" } else { "app" };
        let kinds = ["startupProbe", "livenessProbe", "readinessProbe"];
        let probes: Vec<_> = kinds.iter().filter_map(|kind| container.get(*kind)).collect();
        assert!(!probes.is_empty());
        for probe in probes {
            assert_eq!(probe["httpGet"]["port"], expected, "{probe}");
            assert!(probe.get("tcpSocket").is_none() && probe.get("grpc").is_none(), "{probe}");
        }
    }
    // The app starts after the sidecar's start-up probe has passed, so a probe of the app would wait forever.
    assert_eq!(backsoon(&pod)["startupProbe"]["httpGet"]["path"], "/livez");
    assert_eq!(backsoon(&pod)["readinessProbe"]["httpGet"]["path"], "/readyz");
}

#[test]
fn the_service_leads_to_the_gate_and_never_to_the_admin_port_or_past_it() {
    let all = documents();
    let services: Vec<_> = all.iter().filter(|document| document["kind"] == "Service").collect();
    assert_eq!(services.len(), 1);
    for port in services[0]["spec"]["ports"].as_array().unwrap() {
        assert_eq!(port["targetPort"], "gate");
    }
}

#[test]
fn the_sidecar_starts_before_the_app_and_ends_after_it() {
    let pod = pod();
    let sidecar = named(&pod["spec"]["initContainers"], &Value::from("backsoon"));
    assert_eq!(sidecar["restartPolicy"], "Always");
    let app = named(&pod["spec"]["containers"], &Value::from("app"));
    let sleep = app["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
    let all = documents();
    let config = all.iter().find_map(|document| document["data"]["backsoon.toml"].as_str()).unwrap();
    let drain = seconds(config.parse::<Table>().unwrap()["drain"].as_str().unwrap());
    let grace = pod["spec"]["terminationGracePeriodSeconds"].as_u64().unwrap();
    assert!(grace >= sleep + drain + 15, "{grace} s are too few for {sleep} s and {drain} s");
}

#[test]
fn the_sidecar_has_no_privilege() {
    let pod = pod();
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);
    assert!(pod["spec"]["securityContext"]["runAsUser"].as_u64().unwrap() > 0);
    assert_eq!(pod["spec"]["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let security = &backsoon(&pod)["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]));
}

#[test]
fn the_image_is_built_from_nothing_and_runs_without_root() {
    let instructions = containerfile();
    let last_from = instructions.iter().rposition(|(word, _)| word == "FROM").unwrap();
    assert_eq!(instructions[last_from].1, "scratch");
    let image = &instructions[last_from..];
    let only = |word: &str| {
        let mut found = image.iter().filter(|(instruction, _)| instruction == word);
        let argument = found.next().unwrap_or_else(|| panic!("no {word}")).1.clone();
        assert!(found.next().is_none(), "more than one {word}");
        argument
    };
    let user = only("USER");
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    // No shell exists to run the other form, or to forward a signal.
    let entry: Vec<String> = serde_json::from_str(&only("ENTRYPOINT")).unwrap();
    let command: Vec<String> = serde_json::from_str(&only("CMD")).unwrap();
    assert_eq!((entry.as_slice(), command[0].as_str()), (["/backsoon".to_owned()].as_slice(), "run"));
    for (word, argument) in image {
        assert_ne!(word, "RUN", "nothing can run in an empty image");
        assert_ne!(word, "ADD");
        assert!(word != "COPY" || argument.starts_with("--from=build "), "{argument}");
    }
}

#[test]
fn the_image_is_built_with_the_toolchain_that_the_crate_asks_for() {
    let manifest: Table = fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let version = manifest["package"]["rust-version"].as_str().unwrap();
    let (word, image) = containerfile().remove(0);
    assert_eq!(word, "FROM");
    assert!(image.starts_with(&format!("rust:{version}-")), "{image}");
    let version = manifest["package"]["version"].as_str().unwrap();
    let label = format!("org.opencontainers.image.version=\"{version}\"");
    assert!(containerfile().iter().any(|(word, rest)| word == "LABEL" && rest.contains(&label)), "{label}");
    for name in ["compose.yaml", "kubernetes.yaml"] {
        assert!(read(name).contains(&format!("image: backsoon:{version}")), "{name}");
    }
}

/// Runs `check` on a config, which must pass, and returns its output.
fn check(config: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_backsoon")).args(["check", "--config"]).arg(config).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Verifies the units in a directory, with the built command in place of the installed one. Returns `None` without
/// systemd.
fn systemd_analyze(directory: &Path, arguments: &[&str]) -> Option<Output> {
    let service = read("backsoon.service").replace("/usr/local/bin/backsoon", env!("CARGO_BIN_EXE_backsoon"));
    fs::write(directory.join("backsoon.service"), service).unwrap();
    fs::write(directory.join("backsoon.socket"), read("backsoon.socket")).unwrap();
    let mut command = Command::new("systemd-analyze");
    command.args(arguments).arg(directory.join("backsoon.service"));
    if arguments[0] == "verify" {
        command.arg(directory.join("backsoon.socket"));
    }
    match command.output() {
        Ok(output) => Some(output),
        Err(e) if e.kind() == io::ErrorKind::NotFound => None,
        Err(e) => panic!("{e}"),
    }
}

/// Returns the Containerfile's instructions with their arguments, continuation lines joined.
fn containerfile() -> Vec<(String, String)> {
    let text = read("Containerfile").replace("\\\n", " ");
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once(' ').unwrap()).map(|(word, rest)| (word.to_owned(), rest.to_owned())).collect()
}

/// Runs a script with a `backsoon` that writes its arguments, one a line.
fn arguments(script: &mut Command) -> Vec<String> {
    let programs = tempfile::tempdir().unwrap();
    let stand_in = programs.path().join("backsoon");
    fs::write(&stand_in, "#!/bin/sh\nprintf '%s\\n' \"$@\"\n").unwrap();
    fs::set_permissions(&stand_in, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    let output = script.env("PATH", path).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// Returns the arguments after those that `backsoon with` takes for itself, once it has understood them.
fn understood(arguments: &[String]) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let config = "[[listen]]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:1\"\n\
                  [routes.web]\nupstream = \"http://127.0.0.1:1\"\n";
    fs::write(dir.path().join("backsoon.toml"), config).unwrap();
    let end = arguments.iter().position(|argument| argument == "--").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_backsoon"))
        .args(&arguments[..end])
        .args(["--dry-run", "--"])
        .args(&arguments[end + 1..])
        .current_dir(dir.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    arguments[end + 1..].to_vec()
}

#[test]
fn the_github_action_is_nothing_but_the_command() {
    let action: Value = serde_saphyr::from_str(&read("github-action/action.yml")).unwrap();
    let (inputs, runs) = (&action["inputs"], &action["runs"]);
    assert_eq!(runs["using"], "composite");
    let step = &runs["steps"][0];
    let script = step["run"].as_str().unwrap();
    assert!(!script.contains("${{"), "a value in the text of a script would be run");
    let mut bash = Command::new("bash");
    bash.args(["--noprofile", "--norc", "-e", "-o", "pipefail", "-c", script]);
    for (name, value) in step["env"].as_object().unwrap() {
        let input = value.as_str().unwrap().trim_start_matches("${{ inputs.").trim_end_matches(" }}");
        let given = match input {
            "routes" => "web",
            "run" => "echo \"$HOME\"; false",
            "message" => "A \"new\" $version; true",
            _ => inputs[input]["default"].as_str().unwrap(),
        };
        bash.env(name, given);
    }
    assert_eq!(step["env"].as_object().unwrap().len(), inputs.as_object().unwrap().len());
    let arguments = arguments(&mut bash);
    assert!(arguments.contains(&"A \"new\" $version; true".to_owned()), "{arguments:?}");
    assert_eq!(understood(&arguments), ["bash", "-e", "-o", "pipefail", "-c", "echo \"$HOME\"; false"]);
}

#[test]
fn the_kamal_wrapper_is_nothing_but_the_command() {
    let mut script = Command::new("sh");
    script.arg(root().join("deploy/kamal/deploy")).args(["deploy", "--skip-push", "a b"]);
    let arguments = arguments(script.env("BACKSOON_ROUTES", "web").env("BACKSOON_OPTIONS", "--on-failure open"));
    assert_eq!(understood(&arguments), ["kamal", "deploy", "--skip-push", "a b"]);
    assert_eq!(arguments[..7], ["with", "web", "--for", "30m", "--on-failure", "open", "--"]);
    let mode = fs::metadata(root().join("deploy/kamal/deploy")).unwrap().permissions().mode();
    assert_eq!(mode & 0o111, 0o111);
}

#[test]
fn the_ansible_tasks_are_nothing_but_the_command() {
    let tasks: Value = serde_saphyr::from_str(&read("ansible/with.yml")).unwrap();
    assert_eq!(tasks.as_array().unwrap().len(), 1);
    let argv = tasks[0]["ansible.builtin.command"]["argv"].as_str().unwrap();
    assert!(
        argv.starts_with("{{ ['backsoon', 'with'] + backsoon_routes") && argv.ends_with("['--'] + backsoon_command }}")
    );
    let words = argv.split('\'').skip(1).step_by(2);
    let options: Vec<&str> = words.filter(|word| word.starts_with("--") && word.len() > 2).collect();
    assert_eq!(options, ["--config", "--for"]);
}

/// Returns the documents of the Kubernetes example.
fn documents() -> Vec<Value> {
    serde_saphyr::from_multiple(&read("kubernetes.yaml")).unwrap()
}

/// Returns the Deployment's pod template.
fn pod() -> Value {
    let mut deployments = documents().into_iter().filter(|document| document["kind"] == "Deployment");
    let mut deployment = deployments.next().unwrap();
    assert!(deployments.next().is_none());
    deployment["spec"]["template"].take()
}

fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(|kind| pod["spec"][kind].as_array().unwrap())
}

fn backsoon(pod: &Value) -> &Value {
    containers(pod).find(|container| container["name"] == "backsoon").unwrap()
}

fn named<'a>(list: &'a Value, name: &Value) -> &'a Value {
    list.as_array().unwrap().iter().find(|entry| entry["name"] == *name).unwrap()
}

fn port<'a>(container: &'a Value, name: &str) -> &'a Value {
    &named(&container["ports"], &Value::from(name))["containerPort"]
}

/// Returns the text with every example enabled: each comment whose `#` has no space behind it.
fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(example) if !example.starts_with(' ') => example,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn seconds(duration: &str) -> u64 {
    duration.strip_suffix('s').unwrap().parse().unwrap()
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join("deploy").join(name)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Reports on the real standard error what was not tested; captured output would be hidden for a passing test.
fn skipped(claim: &str, reason: &str) {
    let _ = writeln!(io::stderr(), "SKIPPED: {claim}: {reason}");
}
