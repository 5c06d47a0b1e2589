//! What `deploy/` promises whoever installs the program: looked at by the tools that would read it, and held
//! against what the program does.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use marbre::fragment::quantity::parse_duration;
use marbre::telemetry::metrics::Metric;
use regex::Regex;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::metrics::{is_content, promtool};
use crate::support::newspaper::repository;
use crate::support::program::{Program, unpooled};

const BINARY: &str = env!("CARGO_BIN_EXE_marbre");

fn deploy(path: &str) -> PathBuf {
    repository().join("deploy").join(path)
}

fn read(path: &str) -> String {
    std::fs::read_to_string(deploy(path)).unwrap()
}

/// A program that `tests/run` has installed from `tests/deploy/requirements.txt`.
fn tool(name: &str) -> Command {
    let path = repository().join("tests/deploy/.venv/bin").join(name);
    assert!(path.exists(), "tests/run installs {name}");
    Command::new(path)
}

/// Ran well and had nothing to say.
#[track_caller]
fn is_silent(output: &Output) {
    is_content(output);
    let said = [&output.stdout[..], &output.stderr[..]].concat();
    assert!(said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

/// What a file of YAML documents holds.
fn yaml(text: &str) -> Vec<Value> {
    let script = "import json,sys,yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let mut command = tool("python");
    command.args(["-c", script]);
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(text.as_bytes()).unwrap();
    drop(pipe);
    let read = child.wait_with_output().unwrap();
    is_content(&read);
    serde_json::from_slice(&read.stdout).unwrap()
}

/// The manifests, by kind and name.
fn manifests() -> BTreeMap<(String, String), Value> {
    let files = std::fs::read_dir(deploy("kubernetes")).unwrap();
    let documents = files.flat_map(|file| {
        let path = file.unwrap().path();
        yaml(&std::fs::read_to_string(path).unwrap())
    });
    let told = documents.map(|document| {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let name = text(&document["metadata"]["name"]);
        ((text(&document["kind"]), name), document)
    });
    told.collect()
}

/// The one manifest of this kind and name.
fn manifest(kind: &str, name: &str) -> Value {
    manifests()[&(kind.to_owned(), name.to_owned())].clone()
}

/// The unit as it would be installed, with the program that was built.
fn unit(folder: &TempDir) -> PathBuf {
    let text = read("marbre.service").replace("/usr/bin/marbre", BINARY);
    let path = folder.path().join("marbre.service");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn systemd_understands_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(unit(&folder));
    let verified = verify.output().expect("tests/run installs systemd");
    is_silent(&verified);
}

#[test]
fn the_unit_is_exposed_to_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let analyze = |unit: &Path| {
        let mut command = Command::new("systemd-analyze");
        command.args(["security", "--offline=true", "--threshold=12", "--no-pager"]);
        command.arg(unit).output().unwrap()
    };
    let path = unit(&folder);
    is_content(&analyze(&path));
    // that it could fail: a unit that may do what it likes
    let text = std::fs::read_to_string(&path).unwrap();
    let open = text.lines().filter(|line| !line.contains("Protect"));
    std::fs::write(&path, open.collect::<Vec<_>>().join("\n")).unwrap();
    assert!(!analyze(&path).status.success());
}

#[test]
fn the_unit_gives_the_program_what_it_says_it_needs() {
    let unit = read("marbre.service");
    let key = |name: &str| {
        let of = |line: &str| Some(line.strip_prefix(name)?.strip_prefix('=')?.to_owned());
        unit.lines().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(key("Type"), ["notify"]);
    // the packaged site keeps what it must where the service may write
    let site: toml::Table = read("site/fragments.toml").parse().unwrap();
    assert_eq!(key("StateDirectory"), ["marbre"]);
    assert_eq!(
        site["server"]["state_dir"].as_str(),
        Some("/var/lib/marbre")
    );
    // a stop is not cut short: the grace, the disk, the operators, and the collectors
    let stop = parse_duration(&key("TimeoutStopSec")[0].replace("min", "m")).unwrap();
    assert!(stop.as_secs() >= default_grace() + 20, "{stop:?}");
    // the commands are some
    for command in [key("ExecStart"), key("ExecReload")].concat() {
        if let Some(arguments) = command.strip_prefix("/usr/bin/marbre ") {
            let verb = arguments.split(' ').next().unwrap();
            let helped = Command::new(BINARY)
                .args([verb, "--help"])
                .output()
                .unwrap();
            is_content(&helped);
        }
    }
}

/// A command has neither the environment nor the credentials of the service, unless it is given both: by the
/// unit when it reloads, by whoever says what `deploy/README.md` says.
#[test]
fn what_the_service_is_given_can_be_given_to_a_command() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    put("admin-token", "0123456789abcdef0123456789abcdef\n");
    let environment = read("site/environment");
    assert!(environment.contains("# MARBRE_READ_TOKEN="));
    let token = "fedcba9876543210fedcba9876543210";
    let named = format!("MARBRE_READ_TOKEN={token}");
    put(
        "environment",
        &environment.replace("# MARBRE_READ_TOKEN=", &named),
    );
    let layouts = folder.path().join("templates/layouts");
    std::fs::create_dir_all(&layouts).unwrap();
    let layout = deploy("site/templates/layouts/front.html");
    std::fs::copy(layout, layouts.join("front.html")).unwrap();
    let here = |text: &str| text.replace("/etc/marbre", path);
    let unit = read("marbre.service");
    let reload = unit
        .lines()
        .find_map(|line| line.strip_prefix("ExecReload=+"));
    let reload = here(reload.unwrap()).replace("/usr/bin/marbre", BINARY);
    let document = read("README.md");
    let said = document.lines().find_map(|line| line.strip_prefix("sudo "));
    let said = here(said.unwrap()).replace(" marbre check", &format!(" {BINARY} check"));
    for directory in [
        "CREDENTIALS_DIRECTORY",
        "CREDENTIALS_DIRECTORY:-/etc/marbre",
    ] {
        let admin = format!(
            "[admin]\ntoken_file = \"${{{directory}}}/admin-token\"\nread_token = \"${{MARBRE_READ_TOKEN}}\"\n"
        );
        let site = read("site/fragments.toml").replace("[admin]\n", &admin);
        put("fragments.toml", &here(&site));
        let run = |line: &str, environment: &[(&str, &str)]| {
            let mut command = Command::new("sh");
            command
                .args(["-c", line])
                .env_remove("CREDENTIALS_DIRECTORY");
            command.envs(environment.iter().copied()).output().unwrap()
        };
        // systemd reads the environment for it
        is_content(&run(&reload, &[("MARBRE_READ_TOKEN", token)]));
        is_content(&run(&said, &[]));
        let bare = run(&format!("{BINARY} check {path}/fragments.toml"), &[]);
        assert!(!bare.status.success(), "{directory}");
    }
}

#[test]
fn a_purge_leaves_nothing_and_a_removal_leaves_all() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let script = read("debian/postrm");
    let script = ["var", "etc"].iter().fold(script, |script, top| {
        script.replace(&format!(" /{top}/"), &format!(" {root}/{top}/"))
    });
    assert_eq!(script.matches(root).count(), 5, "{script}");
    let own = [
        "var/lib/private/marbre/copies",
        "var/log/private/marbre/access.log",
        "var/lib/marbre",
        "var/log/marbre",
        "etc/marbre/admin-token",
    ];
    let another = "etc/another/file";
    let exists = |path: &str| folder.path().join(path).exists();
    for path in own.into_iter().chain([another]) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, "").unwrap();
    }
    for (what, is_left) in [("remove", true), ("purge", false)] {
        let mut shell = Command::new("sh");
        is_silent(
            &shell
                .args(["-c", &script, "postrm", what])
                .output()
                .unwrap(),
        );
        for path in own {
            assert_eq!(exists(path), is_left, "{what}: {path}");
        }
    }
    assert!(exists(another));
}

/// How long a stopping server waits for pages unless the site says otherwise, in seconds.
fn default_grace() -> u64 {
    let schema = marbre::config::schema();
    let grace = &schema["properties"]["server"]["properties"]["shutdown_grace"]["default"];
    parse_duration(grace.as_str().unwrap()).unwrap().as_secs()
}

#[tokio::test]
async fn the_packaged_site_serves_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let site = read("site/fragments.toml");
    serves(
        &folder,
        &site,
        "site/templates/layouts/front.html",
        "layouts/front.html",
    )
    .await;
}

async fn serves(folder: &TempDir, site: &str, layout: &str, place: &str) {
    let state = folder.path().join("state");
    let site = site
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        .replace("127.0.0.1:8081", "127.0.0.1:0")
        .replace("/var/lib/marbre", state.to_str().unwrap());
    std::fs::write(folder.path().join("fragments.toml"), site).unwrap();
    let place = folder.path().join("templates").join(place);
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    std::fs::copy(deploy(layout), place).unwrap();
    let program = Program::start(folder.path(), &unpooled()).await;
    let (status, page) = program.get("/").await;
    assert_eq!(status, 200);
    assert!(page.contains("marbre serves"), "{page}");
    program.stop().await;
}

#[test]
fn the_rules_are_what_the_program_writes_of_the_demo() {
    let mut command = Command::new(BINARY);
    command.arg("alerts").current_dir(repository());
    let told = command.env_remove("RUST_LOG").output().unwrap();
    is_content(&told);
    let written = String::from_utf8(told.stdout).unwrap();
    let path = deploy("prometheus/rules.yaml");
    if std::env::var_os("MARBRE_REWRITE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap();
    assert!(
        kept == written,
        "MARBRE_REWRITE=1 cargo test --test it packaging writes deploy/prometheus/rules.yaml anew"
    );
    is_content(&promtool(
        &["check", "rules", "rules.yaml"],
        "",
        &deploy("prometheus"),
    ));
    let scrape = ["check", "config", "--syntax-only", "scrape.yaml"];
    is_content(&promtool(&scrape, "", &deploy("prometheus")));
    // they ask for the servers by the name that their job has
    for scraped in ["scrape.yaml", "kubernetes.yaml"] {
        let config = &yaml(&read(&format!("prometheus/{scraped}")))[0];
        let job = text(&config["scrape_configs"][0]["job_name"]);
        let gone = json!(format!("up{{job=\"{job}\"}} == 0")).to_string();
        assert!(kept.contains(&format!("expr: {gone}")), "{scraped}: {gone}");
    }
}

/// What Kubernetes would say of the pods is written out: Debian's promtool is built without it. All else of
/// the file is as it is.
#[test]
fn prometheus_knows_each_pod_by_the_labels_that_the_autoscaler_asks_for() {
    let mut config = yaml(&read("prometheus/kubernetes.yaml")).remove(0);
    let job = config["scrape_configs"][0].as_object_mut().unwrap();
    let found = job.remove("kubernetes_sd_configs").unwrap();
    let selector = json!([{ "role": "pod", "label": "app.kubernetes.io/name=marbre" }]);
    let namespaces = json!({ "names": ["default"] });
    assert_eq!(
        found,
        json!([{ "role": "pod", "namespaces": namespaces, "selectors": selector }])
    );
    let deployment = manifest("Deployment", "marbre");
    let template = &deployment["spec"]["template"];
    assert_eq!(
        template["metadata"]["labels"]["app.kubernetes.io/name"],
        "marbre"
    );
    let ports = template["spec"]["containers"][0]["ports"].as_array();
    let ports = ports.unwrap().iter();
    let targets = ports.flat_map(|port| {
        ["Running", "Succeeded"].map(|phase| {
            let labels = json!({
                "__meta_kubernetes_namespace": "default",
                "__meta_kubernetes_pod_name": "marbre-x",
                "__meta_kubernetes_pod_phase": phase,
                "__meta_kubernetes_pod_container_port_name": port["name"],
            });
            let target = format!("192.0.2.7:{}", port["containerPort"]);
            json!({ "targets": [target], "labels": labels })
        })
    });
    job.insert("static_configs".to_owned(), targets.collect());
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("found.yaml"), config.to_string()).unwrap();
    let check = ["check", "config", "--syntax-only", "found.yaml"];
    is_content(&promtool(&check, "", folder.path()));
    let discover = ["check", "service-discovery", "found.yaml", "marbre"];
    let told = promtool(&discover, "", folder.path());
    is_content(&told);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    assert_eq!(told.as_array().unwrap().len(), 4, "{told}");
    let labels = told.as_array().unwrap().iter().map(|one| &one["labels"]);
    let kept = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()));
    let kept: Vec<&Value> = kept.collect();
    let [pod] = kept[..] else {
        panic!("one of them is asked: {told}")
    };
    assert_eq!(pod["__address__"], "192.0.2.7:8081");
    assert_eq!(pod["namespace"], "default");
    assert_eq!(pod["pod"], "marbre-x");
    let adapter = &yaml(&read("prometheus/adapter.yaml"))[0];
    let wanted = Regex::new("([a-z]+)!=\"\"").unwrap();
    let query = text(&adapter["rules"][0]["seriesQuery"]).to_owned();
    let wanted: BTreeSet<String> = wanted
        .captures_iter(&query)
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(wanted, ["namespace", "pod"].map(str::to_owned).into());
    for label in wanted {
        assert!(pod[&label].is_string(), "{label}: {pod}");
        let resource = &adapter["rules"][0]["resources"]["overrides"][&label]["resource"];
        assert_eq!(*resource, label);
    }
    // and it may find them
    let role = manifest("Role", "marbre-prometheus");
    assert_eq!(role["rules"][0]["resources"], json!(["pods"]));
    assert_eq!(
        role["rules"][0]["verbs"],
        json!(["get", "list", "watch"]),
        "and nothing else"
    );
    let binding = manifest("RoleBinding", "marbre-prometheus");
    assert_eq!(binding["roleRef"]["name"], role["metadata"]["name"]);
}

#[test]
fn kubernetes_knows_every_key_of_the_manifests() {
    for file in std::fs::read_dir(deploy("kubernetes")).unwrap() {
        let path = file.unwrap().path();
        // the oldest version that knows `lifecycle.preStop.sleep` without being asked to
        for version in ["1.30", "1.33"] {
            let mut validate = tool("kubernetes-validate");
            validate.args(["--strict", "-k", version]).arg(&path);
            is_content(&validate.output().unwrap());
        }
    }
}

#[test]
fn every_selector_selects_the_pods_and_every_named_port_is_one() {
    let deployment = manifest("Deployment", "marbre");
    let labels = &deployment["spec"]["template"]["metadata"]["labels"];
    let wanted = |selector: &Value| {
        let selector = selector.as_object().unwrap();
        assert!(!selector.is_empty());
        for (key, value) in selector {
            assert_eq!(&labels[key], value, "{key}");
        }
    };
    wanted(&deployment["spec"]["selector"]["matchLabels"]);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let ports = container["ports"].as_array().unwrap().iter();
    let ports: BTreeSet<&str> = ports.map(|port| port["name"].as_str().unwrap()).collect();
    for name in ["marbre", "marbre-operators"] {
        let service = manifest("Service", name);
        wanted(&service["spec"]["selector"]);
        for port in service["spec"]["ports"].as_array().unwrap() {
            assert!(ports.contains(port["targetPort"].as_str().unwrap()));
        }
    }
    wanted(&manifest("PodDisruptionBudget", "marbre")["spec"]["selector"]["matchLabels"]);
    let policy = manifest("NetworkPolicy", "marbre");
    wanted(&policy["spec"]["podSelector"]["matchLabels"]);
    for rule in policy["spec"]["ingress"].as_array().unwrap() {
        assert!(ports.contains(rule["ports"][0]["port"].as_str().unwrap()));
        assert!(rule["from"].as_array().is_some_and(|from| !from.is_empty()));
    }
    let spreads = &deployment["spec"]["template"]["spec"]["topologySpreadConstraints"];
    let spreads = spreads.as_array().unwrap();
    for spread in spreads {
        wanted(&spread["labelSelector"]["matchLabels"]);
    }
    let over = spreads
        .iter()
        .map(|spread| spread["topologyKey"].as_str().unwrap());
    let over: Vec<&str> = over.collect();
    assert_eq!(
        over,
        ["topology.kubernetes.io/zone", "kubernetes.io/hostname"]
    );
    let scaled = &manifest("HorizontalPodAutoscaler", "marbre")["spec"]["scaleTargetRef"];
    for key in ["apiVersion", "kind"] {
        assert_eq!(scaled[key], deployment[key]);
    }
    assert_eq!(scaled["name"], deployment["metadata"]["name"]);
    assert!(
        deployment["spec"].get("replicas").is_none(),
        "a deployment that says how many undoes what the autoscaler has said"
    );
}

#[test]
fn the_container_is_nobody_and_can_change_nothing_but_its_state() {
    let deployment = manifest("Deployment", "marbre");
    let pod = &deployment["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(
        pod["securityContext"]["seccompProfile"]["type"],
        "RuntimeDefault"
    );
    assert_eq!(pod["automountServiceAccountToken"], false);
    let security = &container["securityContext"];
    assert_eq!(security["allowPrivilegeEscalation"], false);
    assert_eq!(security["readOnlyRootFilesystem"], true);
    assert_eq!(security["capabilities"]["drop"][0], "ALL");
    for (what, kinds) in [
        ("requests", &["cpu", "memory"][..]),
        ("limits", &["memory"]),
    ] {
        for kind in kinds {
            assert!(
                container["resources"][what][kind].is_string(),
                "{what} {kind}"
            );
        }
    }
    // the image is made for the same nobody
    let user = format!("USER {0}:{0}", pod["securityContext"]["runAsUser"]);
    assert!(
        read("Containerfile").lines().any(|line| line == user),
        "{user}"
    );
    // the token is in a file, and in no environment
    let volumes = pod["volumes"].as_array().unwrap();
    let secrets = volumes.iter().find(|volume| volume["name"] == "secrets");
    assert_eq!(secrets.unwrap()["secret"]["secretName"], "marbre");
    let mode = &secrets.unwrap()["secret"]["defaultMode"];
    assert_eq!(mode.as_u64().unwrap() & 0o007, 0, "nobody else's: {mode}");
    let mounts = container["volumeMounts"].as_array().unwrap();
    let mount = mounts.iter().find(|mount| mount["name"] == "secrets");
    assert_eq!(mount.unwrap()["mountPath"], SECRETS);
    for env in container["env"].as_array().unwrap() {
        assert!(!text(&env["name"]).contains("TOKEN"), "{env}");
    }
}

#[test]
fn a_pod_that_stops_has_the_time_that_it_needs() {
    let deployment = manifest("Deployment", "marbre");
    let pod = &deployment["spec"]["template"]["spec"];
    let total = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
    let sleep = &pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"];
    let config = manifest("ConfigMap", "marbre");
    let site: toml::Table = text(&config["data"]["fragments.toml"]).parse().unwrap();
    let grace = site["server"]["shutdown_grace"].as_str().unwrap();
    let grace = parse_duration(grace).unwrap().as_secs();
    // 20 s for the disk, the collectors, and what operators are being told
    assert!(total >= sleep.as_u64().unwrap() + grace + 20, "{total} s");
    assert!(
        sleep.as_u64().unwrap() > 0,
        "readers are sent elsewhere first"
    );
}

/// Where the Secret is mounted.
const SECRETS: &str = "/run/secrets/marbre";

fn text(value: &Value) -> &str {
    value.as_str().expect("it is a string")
}

/// The site of the ConfigMap, laid out as the Deployment mounts it.
#[tokio::test]
async fn the_probes_ask_where_the_mounted_site_answers() {
    const TOKENS: [(&str, &str); 2] = [
        ("admin-token", "0123456789abcdef0123456789abcdef"),
        ("read-token", "fedcba9876543210fedcba9876543210"),
    ];
    let deployment = manifest("Deployment", "marbre");
    let pod = &deployment["spec"]["template"]["spec"];
    let config = manifest("ConfigMap", "marbre");
    let folder = tempfile::tempdir().unwrap();
    let mounted = &pod["volumes"][0]["configMap"];
    assert_eq!(mounted["name"], config["metadata"]["name"]);
    let items = mounted["items"].as_array().unwrap();
    assert_eq!(items.len(), config["data"].as_object().unwrap().len());
    for item in items {
        let path = folder.path().join(text(&item["path"]));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let content = text(&config["data"][text(&item["key"])]);
        std::fs::write(path, content).unwrap();
    }
    let secrets = folder.path().join("secrets");
    std::fs::create_dir(&secrets).unwrap();
    for (name, token) in TOKENS {
        std::fs::write(secrets.join(name), token).unwrap();
        let open = std::fs::Permissions::from_mode(0o440);
        std::fs::set_permissions(secrets.join(name), open).unwrap();
    }
    let file = folder.path().join("fragments.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    assert!(site.contains(SECRETS), "{site}");
    std::fs::write(&file, site.replace(SECRETS, secrets.to_str().unwrap())).unwrap();
    let check = |file: &Path| {
        let mut command = Command::new(BINARY);
        command.arg("check").arg(file);
        command.output().unwrap()
    };
    is_content(&check(&file));

    // as in the pod, but for what is not there: the ports of its own, the folder, the store
    let site = std::fs::read_to_string(&file).unwrap();
    assert!(site.contains("0.0.0.0:8080") && site.contains("0.0.0.0:8081"));
    let ports = &pod["containers"][0]["ports"];
    assert_eq!(ports[0]["containerPort"], 8080);
    assert_eq!(ports[1]["containerPort"], 8081);
    let mount = &pod["containers"][0]["volumeMounts"][1];
    assert_eq!(mount["mountPath"], "/var/lib/marbre");
    assert!(site.contains("state_dir = \"/var/lib/marbre\""), "{site}");
    let state = folder.path().join("state");
    let site = site
        .replace("0.0.0.0:8080", "127.0.0.1:0")
        .replace("0.0.0.0:8081", "127.0.0.1:0")
        .replace("/var/lib/marbre", state.to_str().unwrap())
        .replace("redis://valkey:6379", "redis://127.0.0.1:1");
    std::fs::write(&file, site).unwrap();
    let mut command = Command::new(BINARY);
    command.arg("serve").current_dir(folder.path());
    let program = Program::start_as(command, &unpooled()).await;
    for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
        let asked = &pod["containers"][0][probe]["httpGet"];
        assert_eq!(asked["port"], "operators", "{probe}");
        let url = format!("http://{}{}", program.admin, text(&asked["path"]));
        let answer = unpooled().get(url).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{probe}, without a token");
    }
    // Prometheus looks and does not act
    let metrics = format!("http://{}/metrics", program.admin);
    let asked = |token: &str| unpooled().get(&metrics).bearer_auth(token).send();
    assert_eq!(unpooled().get(&metrics).send().await.unwrap().status(), 401);
    for (name, token) in TOKENS {
        assert_eq!(asked(token).await.unwrap().status(), 200, "{name}");
        let act = unpooled().post(format!("http://{}/reload", program.admin));
        let act = act.bearer_auth(token).send().await.unwrap();
        assert_eq!(act.status() == 403, name == "read-token", "{name}");
    }
    // the check of the container file
    let ready = |admin: String| {
        let mut command = Command::new(BINARY);
        command
            .arg("ready")
            .env("MARBRE_ADMIN", admin)
            .output()
            .unwrap()
    };
    let answer = ready(format!("http://{}", program.admin));
    is_content(&answer);
    assert_eq!(answer.stdout, b"ready\n");
    let admin = program.admin;
    program.stop().await;
    let answer = ready(format!("http://{admin}"));
    assert_eq!(answer.status.code(), Some(1));
    let said = String::from_utf8_lossy(&answer.stderr).into_owned();
    assert!(said.contains("no server answers"), "{said}");
}

#[test]
fn the_autoscaler_asks_for_what_is_recorded_and_measured() {
    let adapter = &yaml(&read("prometheus/adapter.yaml"))[0];
    let rules = &yaml(&read("prometheus/rules.yaml"))[0];
    let scaling = manifest("HorizontalPodAutoscaler", "marbre");
    let metrics = scaling["spec"]["metrics"].as_array().unwrap();
    let external = text(&metrics[0]["external"]["metric"]["name"]);
    let handed = &adapter["externalRules"][0];
    assert_eq!(handed["name"]["as"], external);
    let series = text(&handed["seriesQuery"]);
    let series = series.strip_prefix("{__name__=\"").unwrap();
    let series = series.strip_suffix("\"}").unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let recorded = groups.flat_map(|group| group["rules"].as_array().unwrap());
    let mut recorded = recorded.filter_map(|rule| rule["record"].as_str());
    assert!(recorded.any(|name| name == series), "{series} is recorded");
    let of_pods = text(&metrics[1]["pods"]["metric"]["name"]);
    assert_eq!(adapter["rules"][0]["name"]["as"], of_pods);
    assert!(
        Metric::ALL.iter().any(|metric| metric.name() == of_pods),
        "{of_pods}"
    );
}

#[test]
fn the_container_file_is_as_it_should_be() {
    let mut linter = tool("hadolint");
    is_silent(&linter.arg(deploy("Containerfile")).output().unwrap());
    let file = read("Containerfile");
    // what is copied is there, and reaches the builder
    let ignored = std::fs::read_to_string(repository().join(".dockerignore")).unwrap();
    let sent: BTreeSet<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let mut copied = BTreeSet::new();
    for line in file.lines().filter(|line| line.starts_with("COPY ")) {
        let mut words: Vec<&str> = line.split(' ').skip(1).collect();
        if words[0].starts_with("--from") {
            continue;
        }
        words.pop();
        copied.extend(words);
    }
    assert_eq!(copied, sent);
    for path in &copied {
        assert!(repository().join(path).exists(), "{path}");
    }
    // the volume is where the packaged site, and the document, keep what outlives a restart
    let state = "/var/lib/marbre";
    assert!(file.contains(&format!("VOLUME {state}\n")));
    for said in ["README.md", "site/fragments.toml"] {
        let declared = format!("state_dir = \"{state}\"");
        assert!(read(said).contains(&declared), "{said}");
    }
    // one program, which asks itself how it is
    assert!(file.contains("CMD [\"/usr/bin/marbre\", \"ready\"]"));
    assert!(file.ends_with("CMD [\"serve\", \"/etc/marbre/fragments.toml\"]\n"));
    // time zones are in the program: the image has none
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let jiff = manifest["dependencies"]["jiff"]["features"]
        .as_array()
        .unwrap();
    assert!(
        jiff.iter()
            .any(|feature| feature.as_str() == Some("tzdb-bundle-always"))
    );
    // and it is built by a compiler that knows the language it is written in
    let compiler = manifest["package"]["rust-version"].as_str().unwrap();
    assert!(
        file.contains(&format!("FROM rust:{compiler}-")),
        "{compiler}"
    );
}

/// The files of the repository that an asset is made of: one, or those whose names end alike.
fn matching(asset: &str) -> Vec<PathBuf> {
    let path = repository().join(asset);
    let name = path.file_name().unwrap().to_str().unwrap();
    let Some(end) = name.strip_prefix('*') else {
        return path.exists().then_some(path).into_iter().collect();
    };
    // what deploy/deb makes is not there yet
    let Ok(files) = std::fs::read_dir(path.parent().unwrap()) else {
        return Vec::new();
    };
    let files = files.map(|file| file.unwrap().path());
    files
        .filter(|path| path.to_str().unwrap().ends_with(end))
        .collect()
}

#[test]
fn every_link_of_the_packaged_documents_leads_to_something_packaged() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
    let mut packed = BTreeMap::new();
    for asset in assets.unwrap() {
        let [from, to] = [0, 1].map(|at| asset[at].as_str().unwrap());
        for file in matching(from) {
            let name = file.file_name().unwrap().to_str().unwrap();
            let to = match to.ends_with('/') {
                true => format!("{to}{name}"),
                false => to.to_owned(),
            };
            assert!(packed.insert(PathBuf::from(to), file).is_none());
        }
    }
    let link = Regex::new(r"\]\(([^)\s#]+)[^)\s]*\)").unwrap();
    let mut seen = 0;
    for (to, file) in &packed {
        if to.extension().is_none_or(|end| end != "md") {
            continue;
        }
        let text = std::fs::read_to_string(file).unwrap();
        for found in link.captures_iter(&text) {
            if found[1].contains("://") {
                continue;
            }
            let mut led = to.parent().unwrap().to_owned();
            for step in found[1].split('/') {
                match step {
                    ".." => assert!(led.pop()),
                    step => led.push(step),
                }
            }
            assert!(packed.contains_key(&led), "{to:?}: {}", &found[1]);
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen} links were found");
}

#[test]
fn the_package_holds_what_there_is() {
    let manifest = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    let package = &manifest["package"]["metadata"]["deb"];
    let made = tempfile::tempdir().unwrap();
    let marbre = |arguments: &[&str]| {
        let mut command = Command::new(BINARY);
        let told = command
            .args(arguments)
            .current_dir(made.path())
            .output()
            .unwrap();
        is_content(&told);
        told.stdout
    };
    marbre(&["man", "--out", "man"]);
    let mut names = BTreeSet::new();
    for asset in package["assets"].as_array().unwrap() {
        let [from, to] = [0, 1].map(|at| asset[at].as_str().unwrap());
        names.insert(format!("/{to}"));
        let there = match from.strip_prefix("target/package/") {
            // deploy/deb makes it
            Some(made) => read("deb").contains(made.trim_end_matches("*.1.gz")) || made == "marbre",
            None => !matching(from).is_empty(),
        };
        assert!(there, "{from}");
    }
    let assets = package["assets"].as_array().unwrap().iter();
    let mut secrets = assets.filter(|asset| asset[0].as_str() == Some("deploy/site/environment"));
    let mode = secrets.next().and_then(|asset| asset[2].as_str());
    assert_eq!(mode, Some("600"), "what may hold secrets is root's alone");
    for kept in package["conf-files"].as_array().unwrap() {
        assert!(names.contains(kept.as_str().unwrap()), "{kept}");
    }
    let unit = package["systemd-units"]["unit-name"].as_str().unwrap();
    let scripts = package["systemd-units"]["unit-scripts"].as_str().unwrap();
    assert!(
        repository()
            .join(scripts)
            .join(format!("{unit}.service"))
            .exists()
    );
    for script in ["deb", "release", "same-bytes", "debian/postrm"] {
        let mut shell = Command::new("bash");
        is_silent(&shell.arg("-n").arg(deploy(script)).output().unwrap());
    }

    // a page for each command, which groff can set without a complaint
    let helped = String::from_utf8(marbre(&["--help"])).unwrap();
    let commands = helped
        .lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let commands: Vec<&str> = commands
        .filter(|name| !["", "help"].contains(name))
        .collect();
    assert!(
        commands.contains(&"serve") && commands.contains(&"completions"),
        "{helped}"
    );
    for page in commands
        .iter()
        .map(|name| format!("marbre-{name}"))
        .chain(["marbre".into()])
    {
        let mut groff = Command::new("groff");
        groff.args(["-man", "-Tutf8", "-ww", "-z"]);
        let path = made.path().join("man").join(format!("{page}.1"));
        is_silent(&groff.arg(path).output().expect("tests/run installs groff"));
    }
    // and completions that the shells can read
    for shell in ["bash", "zsh", "fish"] {
        let path = made.path().join(shell);
        let script = marbre(&["completions", shell]);
        let told = String::from_utf8_lossy(&script).into_owned();
        for name in &commands {
            assert!(told.contains(name), "{shell} does not know {name}");
        }
        std::fs::write(&path, script).unwrap();
        let mut command = Command::new(shell);
        is_silent(
            &command
                .arg("-n")
                .arg(path)
                .output()
                .expect("tests/run installs it"),
        );
    }
}
